package flow

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	errDNSHeader = &Error{"dns", "shorter than its header"}
	errDNSBody   = &Error{"dns", "question or record cannot be read"}
	errDNSName   = &Error{"nbns", "name is not in NetBIOS encoding"}
)

// maxAnswers bounds the records of one event.
const maxAnswers = 32

// NetBIOS record types (RFC 1002 section 4.2.1.3).
const (
	typeNB     = 32
	typeNBSTAT = 33
)

// nameProto maps the server port of a name service.
func nameProto(port uint16) (NameProto, bool) {
	switch port {
	case 53:
		return NameDNS, true
	case 5353:
		return NameMDNS, true
	case 5355:
		return NameLLMNR, true
	case 137:
		return NameNBNS, true
	}
	return 0, false
}

// readDNS reads one message. e.Proto is set already; e.Answers keeps its
// memory.
func (d *deepDecoders) readDNS(msg []byte, e *DNS) *Error {
	p := &d.dns
	head, err := p.Start(msg)
	if err != nil {
		return errDNSHeader
	}
	e.ID, e.Response, e.RCode, e.MessageLen = head.ID, head.Response, uint8(head.RCode), len(msg)
	e.Opcode = uint8(head.OpCode)
	if e.Proto == NameNBNS { // the low three bits of dnsmessage's field are opcode, RFC 1002 section 4.2.1.1
		e.Opcode &= 0x0f
	}
	e.Answers = e.Answers[:0]
	q, err := p.Question()
	if err == nil {
		e.QType = uint16(q.Type)
		if e.QName, err = d.name(e.Proto, &q.Name); err != nil {
			return errDNSName
		}
		err = p.SkipAllQuestions()
	} else if err == dnsmessage.ErrSectionDone {
		err = nil
	}
	if err != nil {
		return errDNSBody
	}
	return d.records(e)
}

// dnsSection is one of the three lists of records.
type dnsSection struct {
	header func(*dnsmessage.Parser) (dnsmessage.ResourceHeader, error)
	skip   func(*dnsmessage.Parser) error
}

var dnsSections = [3]dnsSection{
	{(*dnsmessage.Parser).AnswerHeader, (*dnsmessage.Parser).SkipAnswer},
	{(*dnsmessage.Parser).AuthorityHeader, (*dnsmessage.Parser).SkipAuthority},
	{(*dnsmessage.Parser).AdditionalHeader, (*dnsmessage.Parser).SkipAdditional},
}

// records reads the answers; for the protocols by which hosts announce
// themselves, also what they propose (authorities) and add.
func (d *deepDecoders) records(e *DNS) *Error {
	sections := dnsSections[:1]
	if e.Proto == NameMDNS || e.Proto == NameNBNS {
		sections = dnsSections[:]
	}
	for _, s := range sections {
		for {
			h, err := s.header(&d.dns)
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil {
				return errDNSBody
			}
			if len(e.Answers) == maxAnswers {
				return nil
			}
			if d.record(e, &h, s.skip) != nil {
				return errDNSBody
			}
		}
	}
	return nil
}

// record appends the record whose header was just read.
func (d *deepDecoders) record(e *DNS, h *dnsmessage.ResourceHeader, skip func(*dnsmessage.Parser) error) error {
	if h.Type == dnsmessage.TypeOPT {
		return skip(&d.dns)
	}
	name, err := d.name(e.Proto, &h.Name)
	if err != nil {
		name = printable(h.Name.Data[:h.Name.Length])
	}
	r := DNSRecord{Name: name, Type: uint16(h.Type), TTL: h.TTL, Size: int(h.Length)}
	if e.Proto == NameNBNS {
		var raw dnsmessage.UnknownResource
		raw, err = d.dns.UnknownResource()
		r.Data = nbData(r.Type, raw.Data)
		r.Group = r.Type == typeNB && len(raw.Data) > 0 && raw.Data[0]&0x80 != 0
	} else {
		r.Data, err = d.data(h.Type, skip)
	}
	if err != nil {
		return err
	}
	e.Answers = append(e.Answers, r)
	return nil
}

// data reads the body of the types whose text is wanted and skips others.
func (d *deepDecoders) data(kind dnsmessage.Type, skip func(*dnsmessage.Parser) error) (string, error) {
	p := &d.dns
	switch kind {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return d.addrText(r.A[:]), err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return d.addrText(r.AAAA[:]), err
	case dnsmessage.TypeCNAME:
		r, err := p.CNAMEResource()
		return d.dnsName(&r.CNAME), err
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return d.dnsName(&r.PTR), err
	case dnsmessage.TypeNS:
		r, err := p.NSResource()
		return d.dnsName(&r.NS), err
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		return d.dnsName(&r.Target), err
	}
	return "", skip(p)
}

// addrText is the text of 4 or 16 bytes.
func (d *deepDecoders) addrText(b []byte) string {
	s := d.addrs.slot(b)
	if !s.holds(b) {
		a, _ := netip.AddrFromSlice(b)
		s.keep(b, a.String())
	}
	return s.text
}

// dnsName is lower case without the final dot; the root is "".
func (d *deepDecoders) dnsName(n *dnsmessage.Name) string {
	b := n.Data[:n.Length]
	s := d.names.slot(b)
	if !s.holds(b) {
		s.keep(b, dnsText(b))
	}
	return s.text
}

func dnsText(b []byte) string {
	if len(b) > 0 && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return strings.ToLower(printable(b))
}

func (d *deepDecoders) name(p NameProto, n *dnsmessage.Name) (string, error) {
	if p != NameNBNS {
		return d.dnsName(n), nil
	}
	name, ok := nbName(n.Data[:n.Length])
	if !ok {
		return "", errDNSName
	}
	return name, nil
}

// nbName undoes the first-level encoding of RFC 1001 section 14.1: each byte
// of the 16 is two letters from A to P; the last one is the suffix.
func nbName(b []byte) (string, bool) {
	if len(b) < 32 || len(b) > 32 && b[32] != '.' {
		return "", false
	}
	var raw [16]byte
	for i := range raw {
		hi, lo := b[2*i]-'A', b[2*i+1]-'A'
		if hi > 15 || lo > 15 {
			return "", false
		}
		raw[i] = hi<<4 | lo
	}
	return nbText(raw[:15]), true
}

func nbText(b []byte) string {
	return strings.ToLower(strings.TrimRight(printable(b), " "))
}

// nbData is the first address of an NB record, or the first unique name of a
// node status (RFC 1002 section 4.2.18): the computer's own.
func nbData(kind uint16, b []byte) string {
	switch kind {
	case typeNB:
		if len(b) >= 6 {
			return netip.AddrFrom4([4]byte(b[2:6])).String()
		}
	case typeNBSTAT:
		if len(b) == 0 {
			return ""
		}
		n := int(b[0])
		for b = b[1:]; n > 0 && len(b) >= 18; n, b = n-1, b[18:] {
			group := binary.BigEndian.Uint16(b[16:18])&0x8000 != 0
			if b[15] == 0 && !group {
				return nbText(b[:15])
			}
		}
	}
	return ""
}
