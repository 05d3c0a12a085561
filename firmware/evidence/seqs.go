package evidence

import (
	"slices"
	"sort"
)

// seqs is a set of segment numbers: ranges, both ends included, that ascend and
// do not touch. What a pin holds is one range as a rule.
type seqs [][2]uint64

// at is the first range that ends at n or later.
func (r seqs) at(n uint64) int {
	return sort.Search(len(r), func(i int) bool { return r[i][1] >= n })
}

func (r seqs) has(n uint64) bool {
	i := r.at(n)
	return i < len(r) && r[i][0] <= n
}

// last is the highest number, 0 when there is none.
func (r seqs) last() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1][1]
}

func (r *seqs) add(n uint64) {
	if r.has(n) {
		return
	}
	i := r.at(n)
	before := i > 0 && (*r)[i-1][1]+1 == n
	after := i < len(*r) && n+1 == (*r)[i][0]
	switch {
	case before && after:
		(*r)[i-1][1] = (*r)[i][1]
		*r = slices.Delete(*r, i, i+1)
	case before:
		(*r)[i-1][1] = n
	case after:
		(*r)[i][0] = n
	default:
		*r = slices.Insert(*r, i, [2]uint64{n, n})
	}
}

// valid tells whether r, which was read from a file, is what seqs says.
func (r seqs) valid() bool {
	for i, part := range r {
		if part[0] > part[1] || (i > 0 && part[0] <= r[i-1][1]) {
			return false
		}
	}
	return true
}
