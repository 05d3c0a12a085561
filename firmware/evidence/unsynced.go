package evidence

// unsynced is what was written but may still be lost: until the disk has said
// that it is synced, neither a write that succeeded nor a later sync promises
// that it is there. When the disk fails, all of it counts as dropped, although
// some may turn up: a frame too many in a gap misleads less than one too few.
type unsynced struct {
	gap
	bytes uint64
	notes notes
}

func (u *unsynced) add(c *chunk) {
	u.gap.add(c.first, c.last, c.packets)
	u.bytes += c.bytes
	u.notes.add(&c.notes)
}
