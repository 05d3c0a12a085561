package flow

import "encoding/binary"

// talkBytes is how much of one message is looked at: names stand at its
// beginning. Two of them for each of the dialogues are 16 MB at most.
const talkBytes = 2048

// talk is what is kept of a log-in by a binary protocol: RDP, VNC, MySQL,
// SQL Server, PostgreSQL. It is the state of a dialogue.
type talk struct {
	app    app
	step   uint8
	choice uint32    // of the protocol: version, security type, encryption
	half   [2][]byte // what has come of the next message
	skip   [2]int    // bytes of a long message that are passed over
	login  Login     // what is known so far
	tried  bool

	banner string // to be emitted
	out    [2]LoginResult
	n      int
}

// act is what a reader wants to happen after a message.
type act uint8

const (
	talkOn  act = iota
	talkTLS     // TLS follows
	talkEnd     // nothing follows that is worth reading, or can be read
)

// arrived says whether as much of a message has come as is looked at.
func arrived(b []byte, size int) bool { return len(b) >= min(size, talkBytes) }

// try says that a name or secret was sent, once.
func (k *talk) try() {
	if !k.tried {
		k.tried = true
		k.out[k.n] = LoginTried
		k.n++
	}
}

// result says how the log-in went; what was encrypted when it was tried is
// tried now.
func (k *talk) result(r LoginResult) act {
	k.try()
	k.out[k.n] = r
	k.n++
	return talkEnd
}

// read takes the next message of a direction from b: it returns its length,
// also beyond b, or 0 as long as it is not whole or not due.
func (k *talk) read(dir int, b []byte) (int, act) {
	switch k.app {
	case appRDP:
		return k.rdp(dir, b)
	case appVNC:
		return k.vnc(dir, b)
	case appMySQL:
		return k.mysql(dir, b)
	case appMSSQL:
		return k.mssql(dir, b)
	}
	return k.postgresql(dir, b)
}

// sniffTalk recognises these protocols; VNC is told by its text.
func sniffTalk(b []byte, dir int, port uint16) app {
	if dir == 1 {
		return sniffMySQL(b, port)
	}
	switch b[0] {
	case 3:
		return sniffRDP(b, port)
	case tdsPrelogin:
		return sniffMSSQL(b)
	case 0:
		return sniffPostgreSQL(b, port)
	}
	return appDone
}

func talkParser(a app) parser {
	switch a {
	case appRDP:
		return parseRDP
	case appVNC:
		return parseVNC
	case appMySQL:
		return parseMySQL
	case appMSSQL:
		return parseMSSQL
	}
	return parsePostgreSQL
}

func talkService(a app) string {
	switch a {
	case appRDP:
		return "rdp"
	case appVNC:
		return "vnc"
	case appMySQL:
		return "mysql"
	case appMSSQL:
		return "mssql"
	}
	return "postgresql"
}

// talk reads one segment of a dialogue.
func (t *Tracker) talk(c *conn, d *dialogue, dir int, data []byte, emit func(Event)) {
	k, ok := d.state.(*talk)
	if !ok {
		k = &talk{app: c.app[dir]}
		k.login.Service = talkService(k.app)
		d.state = k
	}
	if d.lost[dir] { // a log-in without one of its messages says nothing
		t.stats.DeepSkipped++
		t.hangUp(c)
		return
	}
	for len(data) > 0 {
		n := min(len(data), k.skip[dir])
		k.skip[dir] -= n
		data = data[n:]
		n = min(len(data), talkBytes-len(k.half[dir]))
		k.half[dir] = append(k.half[dir], data[:n]...)
		if data = data[n:]; !t.turns(c, k, emit) {
			return
		}
		if n == 0 && len(data) > 0 && len(k.half[dir]) == talkBytes { // nobody waits for it
			t.stats.DeepSkipped++
			t.hangUp(c)
			return
		}
	}
	d.skip[dir], k.skip[dir] = int64(k.skip[dir]), 0
}

// turns reads the messages that are whole, whoever's turn it is, and says
// whether the connection is read on.
func (t *Tracker) turns(c *conn, k *talk, emit func(Event)) bool {
	for again := true; again; {
		again = false
		for dir := range k.half {
			n, a, err := t.turn(k, dir)
			if err != nil {
				t.malformed(err, emit)
				t.hangUp(c)
				return false
			}
			t.tell(c, k, dir, emit)
			if n > 0 {
				again = true
				took := min(n, len(k.half[dir]))
				k.half[dir] = append(k.half[dir][:0], k.half[dir][took:]...)
				k.skip[dir] = n - took
			}
			switch a {
			case talkTLS:
				t.upgrade(c)
				return false
			case talkEnd:
				t.hangUp(c)
				return false
			}
		}
	}
	return true
}

func (t *Tracker) turn(k *talk, dir int) (n int, a act, err *Error) {
	if len(k.half[dir]) == 0 {
		return 0, talkOn, nil
	}
	err = t.guard(talkParser(k.app), func() *Error {
		n, a = k.read(dir, k.half[dir])
		return nil
	})
	return n, a, err
}

// tell emits what a message said.
func (t *Tracker) tell(c *conn, k *talk, dir int, emit func(Event)) {
	if k.banner != "" {
		t.banner(c, dir, k.login.Service, []byte(k.banner), emit)
		k.banner = ""
	}
	for _, r := range k.out[:k.n] {
		k.login.Result = r
		t.login(c, dir, &k.login, emit)
	}
	k.n = 0
}

// nulText cuts text that ends with a zero byte.
func nulText(b []byte) (text, rest []byte, ok bool) {
	for i, v := range b {
		if v == 0 {
			return b[:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

func be16(b []byte) int { return int(binary.BigEndian.Uint16(b)) }
func be32(b []byte) int { return int(binary.BigEndian.Uint32(b)) }
