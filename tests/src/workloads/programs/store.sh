#!/bin/sh
# redis: writes, a snapshot by a child, an append-only file that is rewritten, a restart from it.
set -eu
seed=$1
root=/data/store
mkdir -p $root
count=$((20 + seed % 30))
start() {
    redis-server --port 0 --unixsocket $root/redis.sock --dir $root --save '' --appendonly yes \
        --logfile $root/redis.log --enable-debug-command no &
    server=$!
    # Once in any case: whether it is there at once is chance, and a recording must not depend on that.
    sleep 0.1
    tries=0
    until [ "$(cli PING 2> /dev/null)" = PONG ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { cat $root/redis.log >&2; exit 1; }
        sleep 0.1
    done
}
cli() { redis-cli -s $root/redis.sock "$@"; }
background() {
    cli "$1" > /dev/null
    while cli INFO persistence | grep -Eq 'rdb_bgsave_in_progress:1|aof_rewrite_in_progress:1|aof_rewrite_scheduled:1'; do
        sleep 0.1
    done
}
start
seq 1 $count | awk -v seed="$seed" '{ print "SET key:" $1 * seed " " $1 % 13 }' | cli > /dev/null
background BGSAVE
background BGREWRITEAOF
cli INCRBY key:$seed "$seed" > /dev/null
cli SHUTDOWN
wait $server || true
start
[ "$(cli DBSIZE)" = $count ]
value=$(cli GET key:$seed)
[ "$value" = $((1 + seed)) ]
cli SHUTDOWN
wait $server || true
echo ok "$seed" $count "$value"
