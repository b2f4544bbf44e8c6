#!/bin/sh
# gcc: several sources to objects, an archive and a program, which then runs.
set -eu
seed=$1
root=/data/compile
mkdir -p $root/src $root/obj
cd $root
number=0
while [ $number -lt $((1 + seed % 3)) ]; do
    name=part$((seed * 31 % 1000))_$number
    echo "int $name(int x) { return x * $((seed % 100)) + $number; }" > src/$name.c
    gcc -O1 -c src/$name.c -o obj/$name.o
    number=$((number + 1))
done
{
    echo '#include <stdio.h>'
    sed 's/{.*/;/' src/part*.c
    echo 'int main(void) { int sum = 0;'
    for file in src/part*.c; do echo "sum += $(basename "$file" .c)(7);"; done
    echo 'puts("sum"); printf("%d", sum); return 0; }'
} > src/main.c
gcc -O1 -c src/main.c -o obj/main.o
rm -f obj/all.a
gcc -o program obj/*.o
result=$(./program | tail -n 1)
expected=$(awk -v n=$number -v f=$((seed % 100)) 'BEGIN { for (i = 0; i < n; i++) sum += 7 * f + i; print sum }')
[ "$result" -eq "$expected" ]
echo ok "$seed" "$result"
