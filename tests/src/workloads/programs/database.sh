#!/bin/sh
# sqlite3: a database with a write-ahead log, a transaction that is undone, a sort that spills, and a backup.
set -eu
seed=$1
root=/data/database
mkdir -p $root/backups
rows=$((500 + seed % 100))
sqlite3 $root/app.db "
    PRAGMA journal_mode = WAL;
    PRAGMA temp_store = FILE;
    CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, value INTEGER);
    CREATE INDEX item_name ON item (name);" > $root/mode
grep -qx wal $root/mode
{
    echo 'BEGIN;'
    seq 1 $rows | awk -v seed="$seed" '{ print "INSERT INTO item (name, value) VALUES (\"n" $1 * seed % 1009 "\"," $1 * seed % 997 ");" }' | tr '"' "'"
    echo 'COMMIT;'
    echo 'BEGIN; DELETE FROM item; ROLLBACK;'
} > $root/load.sql
sqlite3 $root/app.db < $root/load.sql
sqlite3 $root/app.db "PRAGMA temp_store = FILE; PRAGMA cache_size = 2; PRAGMA cache_spill = 1;
    CREATE TEMP TABLE copy AS SELECT a.name, b.value FROM item a, item b WHERE a.id % 5 = 0;
    SELECT count(*) FROM (SELECT DISTINCT name, value FROM copy ORDER BY value, name);" > $root/distinct
sqlite3 $root/app.db ".backup $root/backups/app-$(date +%Y%m%dT%H%M%S)-$seed.db"
sqlite3 $root/app.db 'PRAGMA journal_mode = DELETE; UPDATE item SET value = value + 1; VACUUM;' > /dev/null
sum=$(sqlite3 $root/app.db 'SELECT sum(value - 1) FROM item')
kept=$(sqlite3 -readonly $root/backups/app-*.db 'SELECT sum(value) FROM item')
[ "$sum" = "$kept" ]
[ "$(sqlite3 $root/app.db 'PRAGMA integrity_check; SELECT count(*) FROM item' | tr '\n' ' ')" = "ok $rows " ]
echo ok "$seed" $rows "$sum" "$(cat $root/distinct)"
