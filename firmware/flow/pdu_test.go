package flow

// readPDUs gives the same bytes to every parser of messages with a length in
// front, as request and as answer, without a guard.
func readPDUs(data []byte) {
	for _, dir := range []int{0, 1} {
		for a := appSMB; a <= appKerberos; a++ {
			p := &pduConn{shared: &pduShared{}}
			c := &conn{app: [2]app{a, a}}
			t := &Tracker{}
			size, head := t.pduMeasure(c, p, dir, data)
			if size <= 0 || head > len(data) {
				continue
			}
			m := pduAt{p: p, dir: dir, body: data[:head], size: size, out: &pduOut{}, asks: &krbAsks{}, conn: 1}
			m.read(a)
		}
	}
}
