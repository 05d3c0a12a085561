// Package crashtest is the crash lane: a process that journals, captures, pins,
// extracts, seals, deletes and redacts is killed at every write of its own, and
// started again.
//
// It has no code but its tests. The kill comes from outside, at a system call
// that strace counts, so that no write of the work's own thread can hide from
// it: neither one of a library nor one that somebody adds tomorrow. The spool
// writes its segments and links in goroutines of its own, on other threads: those
// are cut where they happen to be. What a kill cannot show, the loss of what the
// kernel still held in memory, is the power-cut lane's (image/twin).
package crashtest
