//! Ports that are published: `127.0.0.1:8080:80/tcp`, ranges, IPv6 addresses in brackets.

use crate::recording::Port;

/// The ports that `[IP:][HOST:]CONTAINER[/PROTOCOL]` publishes; an error says what is wrong with it.
pub fn published(text: &str) -> Result<Vec<Port>, String> {
    let wrong = || format!("{text:?} is no port to publish: write [IP:][HOST:]CONTAINER[/PROTOCOL]");
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol @ ("tcp" | "udp" | "sctp"))) => (rest, protocol),
        Some(_) => return Err(wrong()),
        None => (text, "tcp"),
    };
    let (address, rest) = if let Some(inner) = rest.strip_prefix('[') {
        let (address, rest) = inner.split_once("]:").ok_or_else(wrong)?;
        (Some(address), rest)
    } else if rest.matches(':').count() > 1 {
        // The address is all before the last two: IPv6 without brackets, too.
        let (before, container) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = before.rsplit_once(':').ok_or_else(wrong)?;
        let start = rest.len() - host.len() - container.len() - 1;
        (Some(address), rest.get(start..).ok_or_else(wrong)?)
    } else {
        (None, rest)
    };
    let (host, container) = match rest.split_once(':') {
        Some((host, container)) => ((!host.is_empty()).then_some(host), container),
        None => (None, rest),
    };
    let container = range(container).ok_or_else(wrong)?;
    let host = host.map(|host| range(host).ok_or_else(wrong)).transpose()?;
    let same = host.is_none_or(|(first, last)| last - first == container.1 - container.0);
    // One port may be published at any one of a range of the host's.
    if !same && container.0 != container.1 {
        return Err(format!("{text:?}: both ranges of ports must have the same length"));
    }
    let port = |offset: u16| Port {
        container: container.0.saturating_add(offset),
        protocol: protocol.to_owned(),
        host_ip: address.filter(|address| !address.is_empty()).map(str::to_owned),
        host: if same { host.map(|(first, _)| first.saturating_add(offset)) } else { None },
    };
    Ok((0..=container.1 - container.0).map(port).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let ports = published(text)?;
        let one = |p: &Port| {
            let host = p.host.map_or_else(|| "*".to_owned(), |host| host.to_string());
            format!("{}:{host}:{}/{}", p.host_ip.as_deref().unwrap_or("*"), p.container, p.protocol)
        };
        Ok(ports.iter().map(one).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_form_of_a_port() {
        for (text, expected) in [
            ("80", "*:*:80/tcp"),
            ("8080:80", "*:8080:80/tcp"),
            ("127.0.0.1:8080:80/udp", "127.0.0.1:8080:80/udp"),
            ("127.0.0.1::80", "127.0.0.1:*:80/tcp"),
            ("[::1]:8080:80", "::1:8080:80/tcp"),
            ("::1:8080:80", "::1:8080:80/tcp"),
            ("3000-3001:80-81", "*:3000:80/tcp *:3001:81/tcp"),
            ("3000-3009:80", "*:*:80/tcp"),
            ("0.0.0.0:1:1", "0.0.0.0:1:1/tcp"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "x", "80/icmp", "70000", "5-4", "1-2:1-3", "[::1", "a:b:c:d"] {
            assert!(published(text).is_err(), "{text}");
        }
    }
}
