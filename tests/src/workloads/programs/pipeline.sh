#!/bin/sh
# A shell pipeline over a tree of logs, with the coreutils, findutils, sed, grep and awk.
set -eu
seed=$1
root=/data/pipeline
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=$((4 + seed % 5))
day=0
while [ $day -lt $count ]; do
    folder=$root/logs/2024-$(printf %02d $((1 + (seed + day) % 12)))
    mkdir -p "$folder"
    seq "$seed" 5 $((seed + 2000)) | awk -v day=$day '{ print "host" ($1 % 7), $1 * (day + 1) % 97 }' \
        > "$folder/access-$(printf %04d $(((seed * 37 + day * 11) % 10000))).log"
    day=$((day + 1))
done
find $root/logs -type f -name 'access-*.log' -print0 | sort -z | xargs -0 cat | tee "$work/all" \
    | sort -S 16k -T "$work" | uniq -c | sort -rn -k1,1 -k2 | sed 's/^ *//' | head -n 20 > $root/top
cut -d' ' -f1 "$work/all" | sort -u > "$work/hosts"
grep -c . "$work/hosts" > "$work/number"
mkfifo "$work/pipe"
tr a-z A-Z < "$work/hosts" > "$work/pipe" &
paste "$work/hosts" - < "$work/pipe" > "$work/pairs"
wait
split -l 3 "$work/pairs" "$work/part-"
cat "$work"/part-* | cmp - "$work/pairs"
tar -C $root -czf "$root/logs-$seed.tar.gz" logs
tar -tzf "$root/logs-$seed.tar.gz" | grep -c '\.log$' > "$work/packed"
[ "$(cat "$work/packed")" -eq "$(find $root/logs -type f | wc -l)" ]
gzip -c "$work/all" > $root/all.gz
gzip -dc $root/all.gz | cmp - "$work/all"
mv $root/top "$root/top-$(date +%Y%m%d-%H%M%S).txt"
[ "$(cat "$work/number")" -eq 7 ]
echo ok "$seed" "$(cat "$work/all" | sha256sum | cut -c1-32)" "$(cksum < "$work/pairs")"
