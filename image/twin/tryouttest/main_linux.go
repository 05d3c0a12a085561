// Command tryouttest is the only program of the twin that package twin is tried
// with: it answers on the control port, passes a GPIO line's level on to
// another, writes to an I2C bus, and brings its links up.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sekisho/image/twin/guest"
)

// Lines of the button and the lamp.
const button, lamp = 5, 6

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
	if err := unix.Mount("/dev/vda", "/disk", "ext4", 0, ""); err != nil {
		return err
	}
	if err := raise("52:54:00:00:00:01", "192.0.2.1/24"); err != nil {
		return err
	}
	chip, err := os.OpenFile("/dev/gpiochip0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := mirror(chip); err != nil {
		return err
	}
	bus, err := os.OpenFile("/dev/i2c-0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fmt.Println("READY")
	return guest.Serve(map[string]guest.Op{
		"echo": func(b json.RawMessage) (any, error) { return b, nil },
		"fail": func(json.RawMessage) (any, error) { return nil, errors.New("as asked") },
		"time": func(json.RawMessage) (any, error) { return time.Now(), nil },
		"note": func(b json.RawMessage) (any, error) { return nil, note(b) },
		"read": func(json.RawMessage) (any, error) { b, err := os.ReadFile("/disk/note"); return string(b), err },
		"i2c":  func(b json.RawMessage) (any, error) { return nil, send(bus, b) },
		"huge": func(json.RawMessage) (any, error) { return make([]byte, 1<<20), nil },
	})
}

// note writes a file so that a power cut leaves it.
func note(b json.RawMessage) error {
	f, err := os.Create(filepath.Join("/disk", "note"))
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// message is one for a target of the I2C bus.
type message struct {
	Addr byte
	Data []byte
}

func send(bus *os.File, b json.RawMessage) error {
	const target = 0x0703 // I2C_SLAVE of linux/i2c-dev.h
	var m message
	err := json.Unmarshal(b, &m)
	if err == nil {
		err = unix.IoctlSetInt(int(bus.Fd()), target, int(m.Addr))
	}
	if err == nil {
		_, err = bus.Write(m.Data)
	}
	return err
}

// raise finds a link by its address and brings it up.
func raise(mac, addr string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() == mac {
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
		}
	}
	ifs, _ := net.Interfaces()
	return fmt.Errorf("no link has the address %s: %v", mac, ifs)
}
