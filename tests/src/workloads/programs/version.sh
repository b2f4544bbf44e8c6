#!/bin/sh
# git: commits on two branches, a merge, packing, and a clone that pushes back.
set -eu
seed=$1
root=/data/version
mkdir -p $root/home
export HOME=$root/home GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git config --global user.name matrix
git config --global user.email matrix@localhost
git config --global init.defaultBranch main
cd $root
git init -q project
cd project
number=0
while [ $number -lt $((2 + seed % 3)) ]; do
    mkdir -p "src/module$((seed % 17))"
    seq "$seed" $((seed + 40 + number)) > "src/module$((seed % 17))/file$((seed * 13 % 1000))-$number.txt"
    git add .
    git commit -q -m "change $number of $seed"
    number=$((number + 1))
done
git checkout -q -b "topic-$seed"
echo "$seed" > topic
git add topic
git commit -q -m topic
git checkout -q main
echo main > trunk
git add trunk
git commit -q -m main
git merge -q --no-edit "topic-$seed"
git gc -q
git fsck 2> /dev/null
git clone -q $root/project $root/copy-$seed
cd $root/copy-$seed
echo more > more
git add more
git commit -q -m more
git push -q origin HEAD:refs/heads/back
cd $root/project
git diff --stat main back | tail -n 1 > $root/stat
grep -q '1 file changed' $root/stat
git status --short > $root/status
[ ! -s $root/status ]
echo ok "$seed" "$(git log --oneline back | wc -l)" "$(git rev-parse 'back^{tree}')"
