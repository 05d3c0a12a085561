package detect

// act is one thing that a client does to another host by the means of remote
// administration.
type act uint8

const (
	actServiceLook act = iota
	actServiceCreate
	actServiceChange
	actServiceStart
	actServiceControl
	actTaskCreate
	actTaskRun
	actTaskDelete
	actTaskLook
	actRegistryWrite
	actRegistrySave
	actWMIQuery
	actWMIExec
	actWMIWrite
	actDCOM
	actDCOMExec
	actWinRM
	actAdminShare
	actAdminWrite
	actAdminProgram
	actAdminRead
	actShellPipe
	actAccounts
	actSessions
	actSecrets
	actReplicate
	actCoerce
	actPolicyStore
	actSecretFile
	actDriver
	actClearLog
	actWinRMSealed
	actIdleDesktop
	actRC4Login
	actRoast
	actNoPreAuth
	actDirectory
	actDirectoryMany
	actCallback
	actShell
	actProbe17010
	actZerologon
	actEmptyPassword
	actTransaction
	actDoublePulsar
	actBackdoor
	actCount
)

// deed says what an act is called, and what it means when it is seen alone.
// The bands: low is what administrators and monitoring do now and then, medium
// changes or runs something on another host, high has no use but attack.
type deed struct {
	technique string
	band      Confidence
	en, ja    string
	runs      bool // runs something on the other host
}

// Operation numbers: lateral_rpc.go.
var deeds = [actCount]deed{
	actServiceLook:    {"T1007", Low, "looked at its services", "サービスの一覧を調べた", false},
	actServiceCreate:  {"T1569.002", Medium, "installed a service", "サービスを登録した", true},
	actServiceChange:  {"T1543.003", Medium, "changed a service", "サービスの設定を変更した", true},
	actServiceStart:   {"T1569.002", Medium, "started a service", "サービスを開始した", true},
	actServiceControl: {"T1489", Medium, "stopped or deleted a service", "サービスを停止または削除した", false},
	actTaskCreate:     {"T1053.005", Medium, "created a scheduled task", "タスクを登録した", true},
	actTaskRun:        {"T1053.005", Medium, "ran a scheduled task", "タスクを実行した", true},
	actTaskDelete:     {"T1053.005", Low, "deleted a scheduled task", "タスクを削除した", false},
	actTaskLook:       {"T1053.005", Low, "looked at its scheduled tasks", "タスクの一覧を調べた", false},
	actRegistryWrite:  {"T1112", Medium, "wrote to its registry", "レジストリに書き込んだ", false},
	actRegistrySave:   {"T1003.002", Medium, "saved a part of its registry to a file", "レジストリの一部をファイルに保存した", false},
	actWMIQuery:       {"T1047", Low, "queried it by WMI", "WMI で問い合わせた", false},
	actWMIExec:        {"T1047", Medium, "ran a method by WMI", "WMI でメソッドを実行した", true},
	actWMIWrite:       {"T1546.003", Medium, "stored an object by WMI", "WMI でオブジェクトを登録した", true},
	actDCOM:           {"T1021.003", Low, "started a COM object", "COM オブジェクトを起動した", false},
	actDCOMExec:       {"T1021.003", Medium, "gave orders to a program by COM", "COM でプログラムを操作した", true},
	actWinRM:          {"T1021.006", Medium, "opened a remote shell (WinRM)", "リモートシェル（WinRM）を開いた", true},
	actAdminShare:     {"T1021.002", Low, "opened an administrative share", "管理共有を開いた", false},
	actAdminWrite:     {"T1570", Low, "wrote a file to an administrative share", "管理共有にファイルを書き込んだ", false},
	actAdminProgram:   {"T1570", Medium, "put a program onto an administrative share", "管理共有にプログラムを置いた", false},
	actAdminRead:      {"T1039", Low, "read a file from an administrative share", "管理共有のファイルを読み出した", false},
	actShellPipe:      {"T1021.002", Medium, "opened the pipe of a remote shell", "リモートシェルのパイプを開いた", true},
	actAccounts:       {"T1087.002", Low, "listed accounts and groups", "アカウントやグループの一覧を取得した", false},
	actSessions:       {"T1049", Low, "listed who is logged on", "ログオン中の利用者を調べた", false},
	actSecrets:        {"T1003.004", Medium, "fetched a stored secret (LSA)", "保存された秘密情報（LSA）を取り出した", false},
	actReplicate:      {"T1003.006", Medium, "asked for the passwords of the domain as a domain controller does", "ドメインコントローラーのようにパスワード情報の複製を要求した", false},
	actCoerce:         {"T1187", Medium, "made it log in elsewhere", "別の機器へのログインを強制した", false},
	actPolicyStore:    {"T1552", Medium, "fetched the configuration of the log-in service (AD FS)", "ログインサービス（AD FS）の設定を取り出した", false},
	actSecretFile:     {"T1003.003", Medium, "opened a file that holds passwords (NTDS, SAM, LSASS)", "パスワード情報を含むファイル（NTDS・SAM・LSASS）を開いた", false},
	actDriver:         {"T1547.012", Medium, "installed a printer driver", "プリンタードライバーを登録した", true},
	actClearLog:       {"T1070.001", Medium, "cleared its event log", "イベントログを消去した", false},
	actWinRMSealed:    {"T1021.006", Low, "opened a remote shell (WinRM over TLS)", "リモートシェル（TLS の WinRM）を開いた", true},
	actIdleDesktop:    {"T1021.001", Low, "opened its remote desktop (RDP) again and again without ever typing", "リモートデスクトップ（RDP）を何度も開きながら、一度も入力しなかった", false},
	actRC4Login:       {"T1550.002", Medium, "logged in with the old RC4 cipher only, as stolen password hashes are used", "盗まれたパスワードハッシュを使う場合のように、古い RC4 暗号だけでログインした", false},
	actRoast:          {"T1558.003", Medium, "asked for many service tickets with the weak RC4 cipher", "弱い RC4 暗号のサービスチケットを多数要求した", false},
	actNoPreAuth:      {"T1558.004", Medium, "asked for accounts that need no proof of the password", "パスワードの証明が不要なアカウントのチケットを要求した", false},
	actDirectory:      {"T1087.002", Low, "searched the directory for privileged accounts", "ディレクトリで特権アカウントを検索した", false},
	actDirectoryMany:  {"T1087.002", Medium, "searched the directory for several kinds of weak accounts", "ディレクトリで弱点のあるアカウントを何種類も検索した", false},
	actCallback:       {"T1071", Medium, "was called back by it at once on a new port", "操作の直後に、相手から新しいポートへ接続を受けた", false},
	actShell:          {"T1059.003", High, "holds an open command shell on it", "相手のコマンドシェルを操作している", true},
	actZerologon:      {"T1210", Medium, "tried to log in to the domain controller with an empty proof (Zerologon)", "空の証明でドメインコントローラーにログインを試みた（Zerologon）", true},
	actEmptyPassword:  {"T1098", High, "set the password of the domain controller to nothing", "ドメインコントローラーのパスワードを空にした", true},
	actProbe17010:     {"T1046", Medium, "tested it for the hole MS17-010", "脆弱性 MS17-010 の有無を調べた", false},
	actTransaction:    {"T1210", High, "sent SMB1 transactions that only an exploit sends (MS17-010)", "攻撃コードだけが送る不正な SMB1 要求を送った（MS17-010）", true},
	actDoublePulsar:   {"T1210", High, "looked for the backdoor DoublePulsar", "バックドア DoublePulsar を探した", true},
	actBackdoor:       {"T1210", High, "found the backdoor DoublePulsar, which answered", "バックドア DoublePulsar から応答を得た", true},
}

// exploit says that an act abuses a hole; a device that does it to a second
// host spreads.
func (a act) exploit() bool { return a >= actZerologon }
