// Command init is the only program of the office in the twin, see package
// office. It stands for what Debian does on the appliance: systemd-networkd
// (the bridge, with its ports down), nftables' masquerading, and systemd, which
// starts the gateway and starts it again when it died. It also does, when it is
// asked by the control port, what somebody else might do to the network.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sekisho/image/twin/guest"
	"sekisho/image/twin/office"
)

func main() {
	fmt.Println("FAILED", run())
	if err := guest.PowerOff(); err != nil {
		fmt.Println(err)
	}
}

func run() error {
	if err := errors.Join(guest.Up(), guest.Settle()); err != nil {
		return err
	}
	if err := unix.Mount("/dev/vda", office.Data, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	for _, dir := range []string{"state", "evidence"} {
		if err := os.MkdirAll(filepath.Join(office.Data, dir), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(forwarding(), network(), masquerade()); err != nil {
		return err
	}
	s := &service{path: office.Program, args: []string{"run", "--config", office.Settings}}
	s.start()
	fmt.Println("READY")
	return guest.Serve(operations(s))
}

func operations(s *service) map[string]guest.Op {
	return map[string]guest.Op{
		office.OpHTTP:    op(ask),
		office.OpDisturb: op(disturb),
		office.OpGateway: op(s.do),
		office.OpVLANs:   op(func(struct{}) (map[string]office.PortVLANs, error) { return vlans() }),
		office.OpHeld:    op(held),
		office.OpSync:    op(func(struct{}) (struct{}, error) { unix.Sync(); return struct{}{}, nil }),
	}
}

// op decodes the body of a request.
func op[In, Out any](f func(In) (Out, error)) guest.Op {
	return func(body json.RawMessage) (any, error) {
		var in In
		if len(body) > 0 && string(body) != "null" {
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, err
			}
		}
		return f(in)
	}
}
