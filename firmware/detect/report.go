package detect

// told remembers what was last said of one cause, so that a finding repeats
// only when it says more: twice the peers, or a higher band.
type told struct {
	peers int
	conf  Confidence
}

func rank(c Confidence) int {
	switch c {
	case Low:
		return 1
	case Medium:
		return 2
	case High:
		return 3
	}
	return 0
}

func (t *told) more(peers int, c Confidence) bool {
	if t.peers > 0 && peers < 2*t.peers && rank(c) <= rank(t.conf) {
		return false
	}
	t.peers = peers
	if rank(c) > rank(t.conf) {
		t.conf = c
	}
	return true
}

func atMost(c, limit Confidence) Confidence {
	if rank(c) > rank(limit) {
		return limit
	}
	return c
}
