package refuge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sekisho/netcontain"
)

// maxDHCP bounds what is read of one packet, in bytes: an Ethernet frame.
const maxDHCP = 1500

// toServer passes whole UDP datagrams for the DHCP server's port; offsets are
// from the IP header, since the socket takes the Ethernet header off.
var toServer = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcpServerPort, SkipTrue: 1},
	bpf.RetConstant{Val: maxDHCP},
	bpf.RetConstant{Val: 0},
}

// dhcpServer answers on one device.
type dhcpServer struct {
	conn   *packet.Conn
	leases *leases
	log    *slog.Logger
}

// listenDHCP opens a packet socket on one device. It is bound to the device
// by the kernel: no frame of another one ever comes to it, and none leaves by
// another one.
func listenDHCP(device net.Interface, l *leases, log *slog.Logger) (*dhcpServer, error) {
	filter, err := bpf.Assemble(toServer)
	if err != nil {
		return nil, fmt.Errorf("DHCP filter: %w", err)
	}
	c, err := packet.Listen(&device, packet.Datagram, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", device.Name, err)
	}
	return &dhcpServer{c, l, log}, nil
}

func (s *dhcpServer) Close() error { return s.conn.Close() }

// serve answers until the socket is closed or its device goes away.
func (s *dhcpServer) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	buf := make([]byte, maxDHCP)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // it was set down, and may come up again
		}
		if err != nil {
			return err
		}
		hw, ok := from.(*packet.Addr)
		if !ok || len(hw.HardwareAddr) != len(netcontain.MAC{}) {
			continue
		}
		to, out := handle(buf[:n], netcontain.MAC(hw.HardwareAddr), s.leases)
		if out == nil {
			continue
		}
		if _, err := s.conn.WriteTo(out, &packet.Addr{HardwareAddr: to[:]}); err != nil {
			s.log.Debug("answer DHCP", "err", err)
		}
	}
}

// handle is one packet in and at most one out. It is total on any bytes.
func handle(b []byte, from netcontain.MAC, l *leases) (to netcontain.MAC, out []byte) {
	body, err := payload(b, dhcpServerPort)
	if err != nil {
		return to, nil
	}
	m, err := dhcpv4.FromBytes(body)
	if err != nil {
		return to, nil
	}
	r := l.answer(m, from)
	if r == nil {
		return to, nil
	}
	dst, ip := destination(m, r, from)
	return dst, datagram(l.own, ip, r.ToBytes())
}

var (
	everybody   = netcontain.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	everywhere4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// destination is RFC 2131, 4.1. A broadcast is the exception: other isolated
// hosts need not learn who else is there.
func destination(m, r *dhcpv4.DHCPv4, from netcontain.MAC) (netcontain.MAC, netip.Addr) {
	switch ciaddr := addrOf(m.ClientIPAddr); {
	case r.MessageType() == dhcpv4.MessageTypeNak:
		return everybody, everywhere4
	case ciaddr.IsValid():
		return from, ciaddr
	case m.IsBroadcast():
		return everybody, everywhere4
	}
	return from, addrOf(r.YourIPAddr)
}
