package twin

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenTap opens the tap device of that name in the network namespace of the
// calling thread, and makes it when it is not there. The device is the other
// end of a NIC's cable: the host there sees a carrier while a machine has the
// file. It stays when the machine ends, until its namespace goes.
func OpenTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open tap %s: /dev/net/tun: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	r, err := unix.NewIfreq(name)
	if err == nil {
		// No header before the frames, hence no offloading: what is counted on the
		// wire are frames as they are (networking/tuntap of the kernel).
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open tap %s: %w", name, err)
	}
	return f, nil
}
