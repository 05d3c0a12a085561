package detect

// table is a map of bounded size: the least recently used key goes first, and
// every eviction is counted. budget bounds what all values weigh together.
type table[K comparable, V any] struct {
	m       map[K]*node[K, V]
	root    node[K, V] // ring: root.next is the most recent
	max     int
	budget  int // total weight allowed; 0: not limited
	weight  int
	evicted uint64
}

type node[K comparable, V any] struct {
	key        K
	val        V
	weight     int
	prev, next *node[K, V]
}

func newTable[K comparable, V any](max, budget int) *table[K, V] {
	t := &table[K, V]{m: make(map[K]*node[K, V]), max: max, budget: budget}
	t.root.prev, t.root.next = &t.root, &t.root
	return t
}

func (t *table[K, V]) unlink(n *node[K, V]) { n.prev.next, n.next.prev = n.next, n.prev }

func (t *table[K, V]) front(n *node[K, V]) {
	n.prev, n.next = &t.root, t.root.next
	n.prev.next, n.next.prev = n, n
}

// peek returns the value without making it recent; nil when unknown.
func (t *table[K, V]) peek(k K) *V {
	if n := t.m[k]; n != nil {
		return &n.val
	}
	return nil
}

// use returns the value and makes it recent; nil when unknown.
func (t *table[K, V]) use(k K) *V {
	n := t.m[k]
	if n == nil {
		return nil
	}
	if n != t.root.next {
		t.unlink(n)
		t.front(n)
	}
	return &n.val
}

// get returns the value of k, new when unknown.
func (t *table[K, V]) get(k K) *V {
	if v := t.use(k); v != nil {
		return v
	}
	if len(t.m) >= t.max {
		t.evict()
	}
	n := &node[K, V]{key: k}
	t.m[k] = n
	t.front(n)
	return &n.val
}

// grow adds to the weight of k, and evicts others until the budget holds.
func (t *table[K, V]) grow(k K, by int) {
	n := t.m[k]
	if n == nil {
		return
	}
	n.weight += by
	t.weight += by
	for t.budget > 0 && t.weight > t.budget && len(t.m) > 1 {
		t.evict()
	}
}

// remove returns what was the value; nil when unknown.
func (t *table[K, V]) remove(k K) *V {
	n := t.m[k]
	if n == nil {
		return nil
	}
	t.unlink(n)
	t.weight -= n.weight
	delete(t.m, k)
	return &n.val
}

func (t *table[K, V]) evict() {
	last := t.root.prev
	if last == &t.root {
		return
	}
	t.evicted++
	t.remove(last.key)
}

func (t *table[K, V]) size() int         { return len(t.m) }
func (t *table[K, V]) evictions() uint64 { return t.evicted }
