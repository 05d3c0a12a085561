package twin

// LoggedDrive is the arguments for a virtio disk, /dev/vda when it is the only
// one, that is kept in the raw file image. QEMU's blklogwrites notes every
// write and flush in log, an existing file, in the format of package blklog.
//
// The host need not sync either file: what a flush means is read from the log.
// Discards are off, so that the log says what every sector holds.
func LoggedDrive(image, log string) []string {
	return []string{
		"-blockdev", "driver=file,node-name=image,cache.no-flush=on,filename=" + image,
		"-blockdev", "driver=file,node-name=log,cache.no-flush=on,filename=" + log,
		"-blockdev", "driver=blklogwrites,node-name=drive,file=image,log=log",
		"-device", "virtio-blk-device,drive=drive,discard=off,write-zeroes=off",
	}
}
