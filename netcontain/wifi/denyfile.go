package wifi

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sekisho/netcontain"
)

// denyText is a file for hostapd's deny_mac_file: a MAC and its VLAN in a line,
// in hostapd here the mark. It does not name MACs that the owner's own file
// denies: hostapd would list them twice.
func denyText(marks map[netcontain.MAC]int) []byte {
	var b strings.Builder
	b.WriteString("# Devices that the gateway isolates now. Written by sekisho, read by hostapd when it starts.\n")
	wanted := make(map[netcontain.MAC]bool, len(marks))
	for m := range marks {
		wanted[m] = true
	}
	for _, m := range inOrder(wanted) {
		fmt.Fprintf(&b, "%s %d\n", m, marks[m])
	}
	return []byte(b.String())
}

// writeDenyFile replaces the file in one step, when it differs. It comes after
// the effect on hostapd, which must not wait for a disk.
func (a *accessPoint) writeDenyFile(marks map[netcontain.MAC]int) error {
	if a.denyFile == "" {
		return nil
	}
	text := denyText(marks)
	if have, err := os.ReadFile(a.denyFile); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := replace(a.denyFile, text); err != nil {
		return fmt.Errorf("write deny list for hostapd's next start: %w", err)
	}
	return nil
}

// replace leaves either the old file or the new one, whenever the power goes.
func replace(path string, data []byte) (err error) {
	temp := path + ".new"
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
