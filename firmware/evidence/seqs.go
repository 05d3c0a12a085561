package evidence

import (
	"fmt"
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

// join adds the numbers of one range, however many.
func (r *seqs) join(part [2]uint64) {
	i := sort.Search(len(*r), func(i int) bool { return (*r)[i][1]+1 >= part[0] })
	j := i
	for ; j < len(*r) && (*r)[j][0] <= part[1]+1; j++ {
		part[0], part[1] = min(part[0], (*r)[j][0]), max(part[1], (*r)[j][1])
	}
	*r = slices.Replace(*r, i, j, part)
}

// without are the numbers of which the ring, ascending, has no segment.
func (r seqs) without(ring []*segment) seqs {
	var out seqs
	for _, part := range r {
		from := part[0]
		first := sort.Search(len(ring), func(i int) bool { return ring[i].seq >= from })
		for _, g := range ring[first:] {
			if g.seq > part[1] {
				break
			}
			if g.seq > from {
				out = append(out, [2]uint64{from, g.seq - 1})
			}
			from = g.seq + 1
		}
		if from <= part[1] {
			out = append(out, [2]uint64{from, part[1]})
		}
	}
	return out
}

// names are the files of the segments: the first and the last one of a range.
func (r seqs) names() []string {
	var out []string
	for _, part := range r {
		name := fmt.Sprintf(segmentName, part[0])
		if part[1] > part[0] {
			name += " … " + fmt.Sprintf(segmentName, part[1])
		}
		out = append(out, name)
	}
	return out
}

// maxSeq is the last number that a segment's name has room for.
const maxSeq = 1e16 - 1

// valid tells whether r, which was read from a file, is what seqs says.
func (r seqs) valid() bool {
	for i, part := range r {
		if part[0] > part[1] || part[1] > maxSeq || (i > 0 && part[0] <= r[i-1][1]) {
			return false
		}
	}
	return true
}
