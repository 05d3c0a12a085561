package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/image/twin"
)

// Op is an operation that the outside can ask for. Its result is sent as JSON.
type Op func(body json.RawMessage) (any, error)

// atOnce is how many operations run at a time; further requests wait in the port.
const atOnce = 8

// Serve answers requests of the control port, until the port fails; it needs
// the module virtio_console. Operations run at the same time, each once a
// request.
func Serve(ops map[string]Op) error {
	port, err := openPort(twin.ControlPort)
	if err != nil {
		return err
	}
	defer port.Close()
	return serve(port, ops)
}

func serve(port io.ReadWriter, ops map[string]Op) error {
	lines := bufio.NewScanner(port)
	lines.Buffer(nil, twin.MaxMessage+1)
	var writing sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, atOnce)
	for lines.Scan() {
		var r twin.Request
		if json.Unmarshal(lines.Bytes(), &r) != nil { // an empty line, or half a one
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			text := answer(r, ops)
			writing.Lock()
			defer writing.Unlock()
			_, _ = port.Write(text) // whoever asked waits in vain, and says so
		})
	}
	return errors.Join(errors.New("the control port ended"), lines.Err())
}

func answer(r twin.Request, ops map[string]Op) []byte {
	a := twin.Answer{ID: r.ID}
	op := ops[r.Op]
	if r.Op == twin.SetClock {
		op = setClock
	}
	var result any
	err := fmt.Errorf("there is no operation %q", r.Op)
	if op != nil {
		result, err = op(r.Body)
	}
	if err == nil {
		a.Body, err = json.Marshal(result)
	}
	if err == nil && len(a.Body) > twin.MaxMessage-1024 {
		a.Body, err = nil, fmt.Errorf("an answer of %d bytes", len(a.Body))
	}
	if err != nil {
		a.Error = err.Error()
	}
	text, err := json.Marshal(a)
	if err != nil {
		text = fmt.Appendf(nil, `{"id":%d,"error":"the answer cannot be encoded"}`, r.ID)
	}
	return append(text, '\n')
}

func setClock(body json.RawMessage) (any, error) {
	var at time.Time
	if err := json.Unmarshal(body, &at); err != nil {
		return nil, err
	}
	spec := unix.NsecToTimespec(at.UnixNano())
	return nil, unix.ClockSettime(unix.CLOCK_REALTIME, &spec)
}

// openPort finds the device of a named virtio-serial port in sysfs; udev's link
// in /dev/virtio-ports needs udev.
func openPort(name string) (*os.File, error) {
	found, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(text)) == name {
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(path))), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("there is no port %s among %d", name, len(found))
}
