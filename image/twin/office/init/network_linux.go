package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"sekisho/image/twin/office"
)

// forwarding makes a router of the machine; addresses are usable at once.
func forwarding() error {
	var errs []error
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		errs = append(errs, os.WriteFile(filepath.Join("/proc/sys/net", key), []byte("1"), 0o644))
	}
	return errors.Join(append(errs, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644))...)
}

// network makes the bridge, with its ports down: to raise them is the
// gateway's. The kernel names interfaces as they come; their addresses decide.
func network() error {
	for host := 0; host <= office.Hosts; host++ {
		if _, err := named(host); err != nil {
			return err
		}
	}
	if err := bridge(); err != nil {
		return err
	}
	wan, err := netlink.LinkByName(office.WAN)
	if err != nil {
		return err
	}
	if err := errors.Join(address(wan, office.WAN4), address(wan, office.WAN6), netlink.LinkSetUp(wan)); err != nil {
		return fmt.Errorf("%s: %w", office.WAN, err)
	}
	for _, gw := range []string{office.Uplink4, office.Uplink6} {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: wan.Attrs().Index, Gw: net.ParseIP(gw)}); err != nil {
			return fmt.Errorf("route by %s: %w", gw, err)
		}
	}
	return nil
}

// named waits for the interface of a host's port, and names it.
func named(host int) (netlink.Link, error) {
	for range 100 {
		links, err := netlink.LinkList()
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if l.Type() == "device" && l.Attrs().HardwareAddr.String() == office.PortMAC(host) {
				if err := netlink.LinkSetName(l, office.PortName(host)); err != nil {
					return nil, fmt.Errorf("name %s: %w", office.PortName(host), err)
				}
				return netlink.LinkByName(office.PortName(host))
			}
		}
		time.Sleep(20 * time.Millisecond) // the bus is probed in the background
	}
	return nil, fmt.Errorf("no interface has the address %s", office.PortMAC(host))
}

// bridge makes the bridge and takes in the ports that are there, as they are.
func bridge() error {
	mac, err := net.ParseMAC(office.BridgeMAC)
	if err != nil {
		return err
	}
	filter := true
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: office.Bridge, HardwareAddr: mac}, VlanFiltering: &filter}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make %s: %w", office.Bridge, err)
	}
	for host := 1; host <= office.Hosts; host++ {
		if port, err := netlink.LinkByName(office.PortName(host)); err == nil {
			if err := netlink.LinkSetMaster(port, br); err != nil {
				return fmt.Errorf("take in %s: %w", office.PortName(host), err)
			}
		}
	}
	return errors.Join(address(br, office.Bridge4), address(br, office.Bridge6), netlink.LinkSetUp(br))
}

func address(l netlink.Link, text string) error {
	a, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(l, a)
}

// hostOf is the number of the host behind a port.
func hostOf(port string) (int, error) {
	for host := range office.Hosts + 1 {
		if office.PortName(host) == port {
			return host, nil
		}
	}
	return 0, fmt.Errorf("there is no port %q", port)
}

const driver = "/sys/bus/virtio/drivers/virtio_net"

// unplug takes the driver away: the interface is gone, with its index.
func unplug(port string) error {
	device, err := os.Readlink(filepath.Join("/sys/class/net", port, "device"))
	if err != nil {
		return fmt.Errorf("%s is not plugged in: %w", port, err)
	}
	return os.WriteFile(filepath.Join(driver, "unbind"), []byte(filepath.Base(device)), 0o200)
}

// plug gives every device its driver again, names the port's and lets the bridge
// take it in, down as at boot.
func plug(port string) error {
	host, err := hostOf(port)
	if err != nil {
		return err
	}
	devices, err := filepath.Glob("/sys/bus/virtio/devices/*")
	if err != nil {
		return err
	}
	for _, d := range devices {
		if id, err := os.ReadFile(filepath.Join(d, "device")); err != nil || string(id) != "0x0001\n" { // VIRTIO_ID_NET
			continue
		}
		if _, err := os.Readlink(filepath.Join(d, "driver")); err == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(driver, "bind"), []byte(filepath.Base(d)), 0o200); err != nil {
			return err
		}
	}
	link, err := named(host)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(office.Bridge)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(link, br)
}

func rebuild() error {
	br, err := netlink.LinkByName(office.Bridge)
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(br); err != nil {
		return err
	}
	return bridge()
}

func set(port string, up bool) error {
	l, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(l)
	}
	return netlink.LinkSetDown(l)
}
