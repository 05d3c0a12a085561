package flow

import "encoding/binary"

var errSMB = &Error{"smb", "no SMB message in a session message"}

// smbMessages bounds the SMB events of one connection: enough for the rate of
// commands to show, and the bound on what one connection may cost.
const smbMessages = 4096

// smb emits the messages whose headers lie in the segment at hand (MS-SMB2
// section 2.1: each has a length in front). Only the start of each message is
// read; the bytes in between are passed over by sequence number, so that a
// file's content is never taken for a command. After a gap it waits for a
// segment that begins like a message.
func (t *Tracker) smb(c *conn, dir int, emit func(Event)) {
	h := &t.hdr
	data, skip := h.Payload, int64(int32(c.smbNext[dir]-h.Seq))
	if skip >= int64(h.PayloadLen) {
		if skip > maxSMBMessage {
			c.smbNext[dir] = h.Seq // nonsense: wait for a start
		}
		return
	}
	if skip < 0 { // the start was missed
		if !smbStart(data) {
			return
		}
		skip = 0
	}
	at := h.Seq + uint32(skip)
	for skip < int64(len(data)) {
		rest := data[skip:]
		if len(rest) < 4 {
			break // the length is split: the next start is waited for
		}
		n := int64(rest[1])<<16 | int64(rest[2])<<8 | int64(rest[3])
		if rest[0] == 0 && n > 0 && !t.smbMessage(c, rest[4:min(4+n, int64(len(rest)))], dir, emit) {
			t.giveUp(c, dir, false)
			return
		}
		skip += 4 + n
		at += 4 + uint32(n)
	}
	c.smbNext[dir] = at
}

const maxSMBMessage = 1<<24 + 4

// smbBegin starts reading a connection. Where the opening was not seen nobody
// knows where a message starts: the first one is looked for.
func (t *Tracker) smbBegin(c *conn, dir int, emit func(Event)) {
	if c.app[1-dir] != appSMB {
		c.smbLeft = smbMessages
	}
	c.smbNext[dir] = c.isn[dir] + 1
	if c.midStream {
		c.smbNext[dir] = t.hdr.Seq - 1
	}
	t.smb(c, dir, emit)
}

// smbStart recognises a session message that holds an SMB header.
func smbStart(b []byte) bool {
	return len(b) >= 8 && b[0] == 0 && b[5] == 'S' && b[6] == 'M' && b[7] == 'B' && b[4] >= 0xfc
}

// smbMessage reads one header and says whether to go on.
func (t *Tracker) smbMessage(c *conn, msg []byte, dir int, emit func(Event)) bool {
	if c.smbLeft == 0 {
		t.stats.DeepSkipped++
		return false
	}
	c.smbLeft--
	e := &t.ev.smb
	*e = SMB{}
	err := t.guarded(parseSMB, msg)
	if err == errMore { // the header is split over segments
		t.stats.DeepSkipped++
		return true
	}
	if err != nil {
		t.malformed(err, emit)
		return false
	}
	t.stats.SMB++
	e.Meta, e.ConnID = t.here(), c.id
	e.Client, e.Server = c.addrPorts()
	emit(e)
	return true
}

// readSMB reads a header: MS-CIFS section 2.2.3.1, MS-SMB2 sections 2.2.1 and
// 2.2.41 (encrypted: only that much can be seen), 2.2.42 (compressed).
func readSMB(b []byte, e *SMB) *Error {
	if len(b) < 4 {
		return errMore
	}
	if string(b[1:4]) != "SMB" {
		return errSMB
	}
	switch b[0] {
	case 0xff:
		if len(b) < 32 {
			return errMore
		}
		e.Version, e.Command = 1, uint16(b[4])
		e.Response = b[9]&0x80 != 0
		if e.Response {
			e.Status = binary.LittleEndian.Uint32(b[5:9])
		}
	case 0xfe:
		if len(b) < 64 {
			return errMore
		}
		e.Version, e.Command = 2, binary.LittleEndian.Uint16(b[12:14])
		e.Response = b[16]&1 != 0
		if e.Response {
			e.Status = binary.LittleEndian.Uint32(b[8:12])
		}
	case 0xfd, 0xfc:
		e.Version = 3
	default:
		return errSMB
	}
	return nil
}
