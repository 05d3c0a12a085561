package detect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// sharer plays what one client does to the files of one server.
type sharer struct {
	*office
	from    int
	server  netip.Addr
	conns   int // channels that the operations go over in turn
	n       int
	touched map[string]bool // files whose content the client has changed
	stop    bool            // after the first high finding: the device is isolated
}

func newSharer(o *office, from int) *sharer {
	return &sharer{office: o, from: from, server: ip(10), conns: 1, touched: map[string]bool{}}
}

func (s *sharer) op(e flow.SMB, response bool) {
	if s.stop && s.best("smb_ransom") == "high" {
		return
	}
	s.n++
	e.Meta = s.meta(mac(s.from))
	if response {
		e.SrcMAC, e.DstMAC = e.DstMAC, mac(s.from)
	}
	e.Response = response
	e.ConnID = uint64(1 + s.n%s.conns)
	e.Client, e.Server = netip.AddrPortFrom(ip(s.from), 40000+uint16(e.ConnID)), netip.AddrPortFrom(s.server, 445)
	if e.Version == 0 {
		e.Version, e.Tree = 2, 5
	}
	switch e.Op {
	case flow.SMBWrite, flow.SMBRename, flow.SMBDelete:
		s.touched[e.Path] = true
	}
	s.play(&e)
	s.now = s.now.Add(2 * time.Millisecond)
}

func (s *sharer) open(path string, disposition uint32) {
	s.op(flow.SMB{Op: flow.SMBOpen, Path: path, Disposition: disposition}, false)
}

func (s *sharer) close(path string) { s.op(flow.SMB{Op: flow.SMBClose, Path: path}, false) }

func (s *sharer) read(path string, size uint64, c content) {
	s.open(path, 1)
	s.op(flow.SMB{Op: flow.SMBRead, Path: path, Length: size}, false)
	s.op(flow.SMB{Op: flow.SMBRead, Path: path, Length: size, Entropy: c.entropy, Sample: c.sample}, true)
	s.close(path)
}

func (s *sharer) write(path string, disposition uint32, size uint64, c content) {
	s.open(path, disposition)
	s.op(flow.SMB{Op: flow.SMBWrite, Path: path, Length: size, Entropy: c.entropy, Sample: c.sample}, false)
	s.close(path)
}

func (s *sharer) rename(from, to string) {
	s.op(flow.SMB{Op: flow.SMBRename, Path: from, NewPath: to}, false)
}

func (s *sharer) remove(path string) {
	s.op(flow.SMB{Op: flow.SMBDelete, Path: path}, false)
	s.close(path)
}

// content is what the head of written data measures like.
type content struct {
	entropy float64
	sample  int
}

var (
	cipher   = content{7.95, 4096}
	base64ed = content{5.99, 4096}
	packed   = content{7.6, 1400} // docx, jpeg: compressed, with a head
	prose    = content{4.6, 4096}
	unseen   = content{-1, 0}
)

// papers names n files of an office share, of the types that offices have.
func papers(n int) []string {
	types := []string{"docx", "xlsx", "pdf", "jpg", "txt", "doc", "csv", "pptx"}
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`office\project %d\Report %d.%s`, i/7, i, types[i%len(types)]))
	}
	return list
}

func stem(path string) string { return path[:strings.LastIndexByte(path, '.')] }
