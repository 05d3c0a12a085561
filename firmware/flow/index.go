package flow

import "hash/maphash"

// index finds a connection's slot by its key. It is an open hash table with
// linear probing over the numbers of slots: the keys stand in the connections,
// which the packet touches anyway, so that a look-up costs one line of memory
// beside them, where a map that holds the keys once more costs three. At most
// half of it is in use, so that runs stay short, and it has no tombstones.
//
// The hash is the runtime's, seeded anew by each process: strangers cannot
// choose what collides. Nothing walks over the index, so its order shows
// nowhere.
type index struct {
	seed   maphash.Seed
	places []place // a power of two
	used   int
}

// place is empty when its slot is 0. The hash spares a look at connections
// that are not meant.
type place struct {
	hash uint32
	slot uint32
}

const leastPlaces = 1024

func newIndex() index { return index{seed: maphash.MakeSeed(), places: make([]place, leastPlaces)} }

func (x *index) hash(k *key) uint32 { return uint32(maphash.Comparable(x.seed, *k)) }

// put adds a slot whose key is not in the index.
func (x *index) put(hash, slot uint32) {
	if 2*x.used >= len(x.places) {
		old := x.places
		x.places = make([]place, 2*len(old))
		for _, p := range old {
			if p.slot != 0 {
				x.insert(p)
			}
		}
	}
	x.insert(place{hash, slot})
	x.used++
}

func (x *index) insert(p place) {
	mask := uint32(len(x.places) - 1)
	i := p.hash & mask
	for x.places[i].slot != 0 {
		i = (i + 1) & mask
	}
	x.places[i] = p
}

// drop takes out a slot that is in the index, and moves back what follows it
// in its run, so that no look-up ends early (Knuth, The Art of Computer
// Programming 3, 6.4, algorithm R).
func (x *index) drop(hash, slot uint32) {
	mask := uint32(len(x.places) - 1)
	hole := hash & mask
	for x.places[hole].slot != slot {
		hole = (hole + 1) & mask
	}
	for i := hole; ; {
		i = (i + 1) & mask
		p := x.places[i]
		if p.slot == 0 {
			break
		}
		if (i-p.hash)&mask >= (i-hole)&mask { // its home is not behind the hole
			x.places[hole] = p
			hole = i
		}
	}
	x.places[hole] = place{}
	x.used--
}
