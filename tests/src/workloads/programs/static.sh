#!/usr/bin/busybox sh
# One static program in many roles, without a dynamic loader.
set -eu
PATH=
seed=$1
root=/data/static
b=/usr/bin/busybox
$b mkdir -p $root/tree
number=0
while [ $number -lt $((2 + seed % 5)) ]; do
    $b seq "$seed" $((seed + number * 100)) > $root/tree/node-$((seed * 41 % 1000)).$number
    number=$((number + 1))
done
$b tar -C $root -cf - tree | $b gzip > $root/tree.tar.gz
$b mkdir $root/out
$b tar -C $root/out -xzf $root/tree.tar.gz
$b diff -r $root/tree $root/out/tree
copy=$($b mktemp $root/copy.XXXXXX)
$b find $root/tree -type f | $b sort | $b xargs $b cat > "$copy"
$b sed -i 's/^1/one/' "$copy"
sum=$($b md5sum < "$copy" | $b cut -c1-32)
$b rm -r $root/out "$copy"
echo ok "$seed" $number "$sum"
