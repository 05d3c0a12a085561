package twin

import (
	"fmt"
	"net"
	"os"
)

// plugs is what a machine has besides its memory: QEMU's arguments, files for
// it, and our ends of connections. File n is descriptor 3+n of the process.
type plugs struct {
	args  []string
	files []*os.File
	conns map[string]net.Conn
	trace *os.File // our end of QEMU's own log; nil without I2C
}

// plug makes them. What it returns has to be closed also when it failed.
func (c Config) plug() (*plugs, error) {
	p := &plugs{conns: map[string]net.Conn{}}
	for i, n := range c.NICs {
		// guest_announce: after loadvm QEMU would ask the guest for two seconds to tell
		// its neighbours where it is now. Linux 6.12 answers from a work item that takes
		// RTNL, for which virtnet_close, holding RTNL, waits: whoever took the link down
		// then would stop the guest's network for good. No NIC of the appliance asks this.
		p.add(fmt.Sprintf("tap,id=nic%d", i), n.Tap, "-netdev")
		p.args = append(p.args, "-device", fmt.Sprintf("virtio-net-device,netdev=nic%d,mac=%s,guest_announce=off", i, n.MAC))
	}
	if err := p.connect("qmp", "-mon", "chardev=qmp,mode=control"); err != nil {
		return p, err
	}
	if c.GPIO {
		if err := p.connect("qtest", "-qtest", "chardev:qtest", "-qtest-log", "none"); err != nil {
			return p, err
		}
	}
	if c.I2C != nil {
		if err := p.log(); err != nil {
			return p, err
		}
	}
	if c.Control {
		return p, p.connect("control", "-device", "virtio-serial-device", "-device", "virtserialport,chardev=control,name="+ControlPort)
	}
	return p, nil
}

func (p *plugs) add(what string, f *os.File, option string) {
	p.args = append(p.args, option, fmt.Sprintf("%s,fd=%d", what, 3+len(p.files)))
	p.files = append(p.files, f)
}

// connect makes a character device of that name and gives it to QEMU as args
// say.
func (p *plugs) connect(name string, args ...string) error {
	ours, theirs, err := socketPair(name)
	if err != nil {
		return err
	}
	p.conns[name] = ours
	p.add("socket,id="+name, theirs, "-chardev")
	p.args = append(p.args, args...)
	return nil
}

// log gives QEMU a pipe for its log, each line with its time. A full pipe holds
// QEMU up: nothing that it saw is lost.
func (p *plugs) log() error {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("connect QEMU's log: %w", err)
	}
	p.trace = ours
	p.args = append(p.args, "-D", fmt.Sprintf("/dev/fd/%d", 3+len(p.files)), "-msg", "timestamp=on")
	p.files = append(p.files, theirs)
	return nil
}

// close lets go of the files; QEMU has its own by then.
func (p *plugs) close() {
	for _, f := range p.files {
		f.Close()
	}
}

// hangUp ends the connections.
func (p *plugs) hangUp() {
	for _, c := range p.conns {
		c.Close()
	}
	if p.trace != nil {
		p.trace.Close()
	}
}
