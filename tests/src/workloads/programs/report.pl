#!/usr/bin/perl
# Perl: temporary files and folders, a child over a pipe, a socket pair, signals, locks.
use strict;
use warnings;
use Fcntl qw(:flock SEEK_SET);
use File::Temp qw(tempfile tempdir);
use IO::Handle;
use POSIX qw(strftime);
use Socket;

my $seed = shift;
my $root = "/data/report";
mkdir $root or die "mkdir: $!";
my $folder = tempdir(DIR => $root, CLEANUP => 1);
my ($file, $name) = tempfile("work-XXXXXXXX", DIR => $folder, SUFFIX => ".txt");
my $count = 3 + $seed % 6;
print {$file} "line ", $_ * $seed % 1000, "\n" for 1 .. $count;
$file->flush;
flock($file, LOCK_EX) or die "flock: $!";
seek($file, 0, SEEK_SET) or die "seek: $!";
my @lines = <$file>;

socketpair(my $left, my $right, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
my $child = fork // die "fork: $!";
if (!$child) {
    close $left;
    local $/;
    print {$right} map { s/line/LINE/r } @lines;
    close $right;
    POSIX::_exit(0);
}
close $right;
my @upper = <$left>;
waitpid $child, 0;
die "the child failed" if $?;

open my $sorted, "-|", "sort", $name or die "sort: $!";
my @sorted = <$sorted>;
close $sorted or die "sort failed";
my $woken = 0;
local $SIG{USR1} = sub { $woken = 1 };
kill USR1 => $$ or die "kill: $!";
open my $log, ">>", "$root/report-" . strftime("%Y-%m-%d", gmtime($seed * 86400)) . ".log" or die "log: $!";
print {$log} @sorted;
close $log or die "close: $!";
my $sum = 0;
$sum += (split)[1] for @upper;
die "lost something" unless @upper == $count && @sorted == $count && $woken;
print "ok $seed $count $sum\n";
