package detect

import (
	"bytes"
	"strings"

	"sekisho/firmware/flow"
)

// rpcOp is one operation of one DCE/RPC interface.
type rpcOp struct {
	iface string
	opnum uint16
}

// The interfaces that are read.
const (
	ifaceSCMR     = "367abb81-9844-35f1-ad32-98f038001003" // MS-SCMR, \pipe\svcctl
	ifaceATSvc    = "1ff70682-0a51-30e8-076d-740be8cee98b" // MS-TSCH 3.2.5.2, \pipe\atsvc
	ifaceTasks    = "86d35949-83c9-4044-b424-db363231fd0c" // MS-TSCH 3.2.5.4
	ifaceRegistry = "338cd001-2244-31f1-aaaa-900038001003" // MS-RRP, \pipe\winreg
	ifaceWMILogin = "f309ad18-d86a-11d0-a075-00c04fb68820" // MS-WMI IWbemLevel1Login
	ifaceWMI      = "9556dc99-828c-11cf-a37e-00aa003240c7" // MS-WMI IWbemServices
	ifaceActivate = "000001a0-0000-0000-c000-000000000046" // MS-DCOM IRemoteSCMActivator
	ifaceActOld   = "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57" // MS-DCOM IActivation
	ifaceDispatch = "00020400-0000-0000-c000-000000000046" // MS-OAUT IDispatch
	ifaceReplica  = "e3514235-4b06-11d1-ab04-00c04fc2dcd2" // MS-DRSR drsuapi
	ifaceNetlogon = "12345678-1234-abcd-ef00-01234567cffb" // MS-NRPC
	ifaceLSA      = "12345778-1234-abcd-ef00-0123456789ab" // MS-LSAD
	ifaceSAM      = "12345778-1234-abcd-ef00-0123456789ac" // MS-SAMR
	ifaceServer   = "4b324fc8-1670-01d3-1278-5a47bf6ee188" // MS-SRVS
	ifaceStation  = "6bffd098-a112-3610-9833-46c3f87e345a" // MS-WKST
	ifaceEFS      = "c681d488-d850-11d0-8c52-00c04fd90f7e" // MS-EFSR, \pipe\lsarpc
	ifaceEFS2     = "df1941c5-fe89-4e79-bf10-463657acf44d" // MS-EFSR, \pipe\efsrpc
	ifaceShadow   = "a8e0653c-2744-4389-a61d-7373df8b2292" // MS-FSRVP
	ifacePrint    = "12345678-1234-abcd-ef00-0123456789ab" // MS-RPRN, \pipe\spoolss
	ifacePrintPar = "76f03f96-cdfd-44fc-a22c-64950a001209" // MS-PAR
	ifaceLog      = "82273fdc-e32a-18c3-3f78-827929dc23ea" // MS-EVEN
	ifaceLog6     = "f6beaff7-1e19-4fbb-9f8f-b89e2018337c" // MS-EVEN6
	ifaceDFS      = "4fc742e0-4a10-11cf-8273-00aa004ae673" // MS-DFSNM
)

// rpcActs gives the meaning of operations, by the numbers of the specifications
// named above (section 3.1.4 and its like in each).
var rpcActs = map[rpcOp]act{
	{ifaceSCMR, 1}: actServiceControl, {ifaceSCMR, 2}: actServiceControl, // RControlService, RDeleteService
	{ifaceSCMR, 11}: actServiceChange, {ifaceSCMR, 23}: actServiceChange, // RChangeServiceConfig
	{ifaceSCMR, 12}: actServiceCreate, {ifaceSCMR, 24}: actServiceCreate, // RCreateService
	{ifaceSCMR, 44}: actServiceCreate, {ifaceSCMR, 45}: actServiceCreate, {ifaceSCMR, 60}: actServiceCreate,
	{ifaceSCMR, 19}: actServiceStart, {ifaceSCMR, 31}: actServiceStart, // RStartService
	{ifaceSCMR, 14}: actServiceLook, {ifaceSCMR, 26}: actServiceLook, {ifaceSCMR, 42}: actServiceLook, // REnumServicesStatus
	{ifaceSCMR, 15}: actServiceLook, {ifaceSCMR, 27}: actServiceLook, {ifaceSCMR, 64}: actServiceLook, // ROpenSCManager
	{ifaceSCMR, 16}: actServiceLook, {ifaceSCMR, 28}: actServiceLook, {ifaceSCMR, 6}: actServiceLook, // ROpenService, status
	{ifaceATSvc, 0}: actTaskCreate, {ifaceATSvc, 1}: actTaskDelete, {ifaceATSvc, 2}: actTaskLook, // NetrJob…
	{ifaceTasks, 1}: actTaskCreate, {ifaceTasks, 12}: actTaskRun, {ifaceTasks, 13}: actTaskDelete,
	{ifaceTasks, 2}: actTaskLook, {ifaceTasks, 6}: actTaskLook, {ifaceTasks, 7}: actTaskLook, {ifaceTasks, 17}: actTaskLook,
	{ifaceRegistry, 22}: actRegistryWrite, {ifaceRegistry, 8}: actRegistryWrite, {ifaceRegistry, 7}: actRegistryWrite,
	{ifaceRegistry, 20}: actRegistrySave, {ifaceRegistry, 31}: actRegistrySave, // BaseRegSaveKey(Ex)
	{ifaceWMILogin, 6}: actWMIQuery, {ifaceWMI, 20}: actWMIQuery, {ifaceWMI, 21}: actWMIQuery,
	{ifaceWMI, 24}: actWMIExec, {ifaceWMI, 25}: actWMIExec, // ExecMethod
	{ifaceWMI, 8}: actWMIWrite, {ifaceWMI, 9}: actWMIWrite, {ifaceWMI, 14}: actWMIWrite, {ifaceWMI, 15}: actWMIWrite,
	{ifaceActivate, 3}: actDCOM, {ifaceActivate, 4}: actDCOM, {ifaceActOld, 0}: actDCOM,
	{ifaceDispatch, 6}: actDCOMExec,                                                           // Invoke
	{ifaceReplica, 3}:  actReplicate,                                                          // IDL_DRSGetNCChanges
	{ifaceLSA, 43}:     actSecrets,                                                            // LsarRetrievePrivateData
	{ifaceSAM, 11}:     actAccounts, {ifaceSAM, 13}: actAccounts, {ifaceSAM, 15}: actAccounts, // SamrEnumerate…
	{ifaceSAM, 25}: actAccounts, {ifaceSAM, 33}: actAccounts, // members of groups, aliases
	{ifaceSAM, 40}: actAccounts, {ifaceSAM, 48}: actAccounts, {ifaceSAM, 51}: actAccounts, // SamrQueryDisplayInformation
	{ifaceServer, 12}: actSessions, {ifaceStation, 2}: actSessions, // NetrSessionEnum, NetrWkstaUserEnum
	{ifacePrint, 9}: actDriver, {ifacePrint, 89}: actDriver, {ifacePrintPar, 39}: actDriver, // RpcAddPrinterDriver(Ex)
	{ifaceLog, 0}: actClearLog, {ifaceLog, 12}: actClearLog, {ifaceLog6, 6}: actClearLog, // ElfrClearELF, EvtRpcClearLog
	{ifaceEFS, 0}: actCoerce, {ifaceEFS, 4}: actCoerce, {ifaceEFS, 5}: actCoerce, // EfsRpcOpenFileRaw, Encrypt, Decrypt
	{ifaceEFS2, 0}: actCoerce, {ifaceEFS2, 4}: actCoerce, {ifaceEFS2, 5}: actCoerce,
	{ifaceEFS2, 6}: actCoerce, {ifaceEFS2, 7}: actCoerce, {ifaceEFS, 6}: actCoerce, {ifaceEFS, 7}: actCoerce,
	{ifaceShadow, 8}: actCoerce, {ifaceShadow, 9}: actCoerce, {ifaceDFS, 12}: actCoerce, {ifaceDFS, 13}: actCoerce,
}

// pipeIface names the interface of a pipe whose bind was not seen.
var pipeIface = map[string]string{
	"svcctl": ifaceSCMR, "atsvc": ifaceATSvc, "winreg": ifaceRegistry, "samr": ifaceSAM, "lsarpc": ifaceLSA, "srvsvc": ifaceServer,
	"spoolss": ifacePrint, "eventlog": ifaceLog, "wkssvc": ifaceStation, "netlogon": ifaceNetlogon, "efsrpc": ifaceEFS2, "drsuapi": ifaceReplica, "netdfs": ifaceDFS,
}

// runClasses are COM classes whose objects run what they are told (T1021.003),
// as they stand in an activation request: the first three parts little-endian.
var runClasses = [...][16]byte{
	{0x91, 0x27, 0xb2, 0x49, 0xae, 0xb1, 0x90, 0x4c, 0x9b, 0x8e, 0xe8, 0x60, 0xba, 0x07, 0xf8, 0x89}, // MMC20.Application
	{0x72, 0x59, 0xa0, 0x9b, 0xa8, 0xf6, 0xcf, 0x11, 0xa4, 0x42, 0x00, 0xa0, 0xc9, 0x0a, 0x8f, 0x39}, // ShellWindows
	{0x90, 0xfd, 0x8a, 0xc0, 0xa1, 0xf2, 0xd1, 0x11, 0x84, 0x55, 0x00, 0xa0, 0xc9, 0x1f, 0x38, 0x80}, // ShellBrowserWindow
	{0x00, 0x45, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}, // Excel.Application
	{0x3a, 0xf0, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}, // Outlook.Application
	{0xd8, 0xf4, 0x50, 0x30, 0xb5, 0x98, 0xcf, 0x11, 0xbb, 0x82, 0x00, 0xaa, 0x00, 0xbd, 0xce, 0x0b}, // htafile
}

func (d *lateral) rpc(e *flow.RPC) {
	if e.Kind != flow.RPCRequest {
		return
	}
	iface := e.Interface
	if iface == "" {
		iface = pipeIface[e.Pipe]
	}
	switch {
	case iface == ifaceNetlogon:
		d.netlogon(e)
		return
	case iface == ifaceServer && e.Opnum == 15: // NetrShareEnum: every browser of shares does it, once
		d.fan(&e.Meta, e.Client, e.Server, false, fanShares)
		return
	}
	a, ok := rpcActs[rpcOp{iface, e.Opnum}]
	if !ok {
		return
	}
	switch a {
	case actReplicate:
		if d.dcs.peek(e.Client.Addr()) != nil {
			return // domain controllers replicate among themselves
		}
	case actDCOM:
		for i := range runClasses {
			if bytes.Contains(e.Stub, runClasses[i][:]) {
				a = actDCOMExec
			}
		}
	case actServiceLook:
		d.fan(&e.Meta, e.Client, e.Server, false, fanServices)
	case actSessions:
		d.fan(&e.Meta, e.Client, e.Server, false, fanSessions)
	}
	d.did(&e.Meta, e.Client, e.Server, false, a)
}

// zerologonTries: one proof in 256 is accepted by a server with the hole, so
// that who tests for it needs many as well; below eight tries an attack would
// succeed in three cases of a hundred, and a person can still be asked.
const zerologonTries = 8

// netlogon counts empty proofs; a password that is set after one is the attack
// itself (NetrServerPasswordSet2, MS-NRPC 3.5.4.4.6).
func (d *lateral) netlogon(e *flow.RPC) {
	empty := emptyProof(e)
	if !empty && e.Opnum != 30 {
		return
	}
	p := d.trader(&e.Meta, e.Client, e.Server, false)
	switch {
	case p == nil:
	case empty:
		if e.Opnum != 4 {
			p.empty++
		}
		d.did(&e.Meta, e.Client, e.Server, false, actZerologon)
	case p.empty > 0:
		d.did(&e.Meta, e.Client, e.Server, false, actEmptyPassword)
	}
}

// emptyProof recognises the proof of Zerologon (CVE-2020-1472; Tervoort,
// Secura 2020): a client challenge or credential of eight zero bytes, which a
// sound client sends once in 2^64 times. It ends the stub of
// NetrServerReqChallenge (MS-NRPC 3.5.4.4.1), and stands before the aligned
// flags of NetrServerAuthenticate2 and 3.
func emptyProof(e *flow.RPC) bool {
	var zero [8]byte
	switch n := len(e.Stub); e.Opnum {
	case 4:
		return n >= 32 && bytes.Equal(e.Stub[n-8:], zero[:])
	case 15, 26:
		for pad := 0; pad < 4 && n >= 32; pad++ {
			if bytes.Equal(e.Stub[n-12-pad:n-4-pad], zero[:]) {
				return true
			}
		}
	}
	return false
}

// http recognises remote shells over WinRM (MS-WSMV): requests for /wsman but
// those by which computers forward their event logs.
func (d *lateral) http(e *flow.HTTP) {
	switch {
	case hasPrefixFold(e.Path, "/wsman") && !hasPrefixFold(e.Path, "/wsman/subscription") && !hasPrefixFold(e.Path, "/wsman-anon"):
		d.did(&e.Meta, e.Client, e.Server, false, actWinRM)
		d.fan(&e.Meta, e.Client, e.Server, false, fanWinRM)
	case hasPrefixFold(e.Path, "/adfs/services/policystoretransfer"):
		d.did(&e.Meta, e.Client, e.Server, false, actPolicyStore)
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
