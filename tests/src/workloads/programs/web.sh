#!/bin/sh
# nginx with a worker, serving files and a cache of what it fetched from itself, to a client in the same container.
set -eu
seed=$1
root=/data/web
mkdir -p $root/site/assets $root/cache $root/temp
count=$((2 + seed % 4))
cat > $root/nginx.conf <<END
user root;
worker_processes 1;
pid $root/nginx.pid;
error_log $root/error.log notice;
events { worker_connections 64; }
http {
    types { text/html html; text/css css; }
    access_log $root/access.log;
    client_body_temp_path $root/temp/body 1 2;
    proxy_temp_path $root/temp/proxy;
    fastcgi_temp_path $root/temp/fastcgi;
    scgi_temp_path $root/temp/scgi;
    uwsgi_temp_path $root/temp/uwsgi;
    proxy_cache_path $root/cache levels=1:2 keys_zone=pages:1m;
    sendfile on;
    server {
        listen 127.0.0.1:8080;
        location / { root $root/site; }
        location /cached/ {
            proxy_cache pages;
            proxy_cache_valid 200 1m;
            proxy_pass http://127.0.0.1:8080/assets/;
        }
        location /upload { client_body_in_file_only clean; proxy_pass http://127.0.0.1:8080/index.html; proxy_method GET; }
    }
}
END
echo "<h1>$seed</h1>" > $root/site/index.html
number=0
while [ $number -lt $count ]; do
    echo "/* $seed */ .c$number {}" > $root/site/assets/style-$((seed * 7919 % 100000))-$number.css
    number=$((number + 1))
done
nginx -e $root/error.log -c $root/nginx.conf -g 'daemon off;' &
server=$!
fetch() { busybox wget -q -O - "http://127.0.0.1:8080$1"; }
# Once in any case: whether it is there at once is chance, and a recording must not depend on that.
sleep 0.1
tries=0
until fetch /index.html > /tmp/page 2> /dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat $root/error.log >&2; exit 1; }
    sleep 0.1
done
grep -q "<h1>$seed</h1>" /tmp/page
number=0
while [ $number -lt $count ]; do
    path=style-$((seed * 7919 % 100000))-$number.css
    fetch /assets/$path > /tmp/direct
    fetch /cached/$path > /tmp/first
    fetch /cached/$path > /tmp/second
    cmp /tmp/direct /tmp/first
    cmp /tmp/direct /tmp/second
    number=$((number + 1))
done
busybox wget -q -O /tmp/answer --post-data "name=$seed" http://127.0.0.1:8080/upload
cmp /tmp/answer $root/site/index.html
kill -HUP $server
fetch /index.html | cmp - $root/site/index.html
kill -QUIT $server
wait $server
[ "$(grep -c GET $root/access.log)" -ge $((3 * count)) ]
echo ok "$seed" $count "$(cksum < /tmp/page)"
