package capture

// Block types and option codes of draft-ietf-opsawg-pcapng.
const (
	blockSHB    = 0x0A0D0D0A // section header
	blockIDB    = 0x00000001 // interface description
	blockPB     = 0x00000002 // packet, obsolete
	blockSPB    = 0x00000003 // simple packet
	blockISB    = 0x00000005 // interface statistics
	blockEPB    = 0x00000006 // enhanced packet
	blockCustom = 0x00000BAD // custom, may be copied to new files

	byteOrderMagic = 0x1A2B3C4D

	optEnd     = 0
	optComment = 1

	shbHardware = 2
	shbOS       = 3
	shbApp      = 4

	idbName        = 2
	idbDescription = 3
	idbMAC         = 6
	idbTsResol     = 9
	idbTsOffset    = 14

	epbFlags     = 2
	epbOutbound  = 2 // direction bits of epb_flags
	isbStart     = 2
	isbEnd       = 3
	isbReceived  = 4
	isbDropped   = 5
	isbOSDropped = 7
	nanoseconds  = 9 // if_tsresol: 10^-9 s
	minBlock     = 12
	epbFixed     = 32 // block header, five words, trailing length
	maxInterface = 4096
)
