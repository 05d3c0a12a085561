package offsite

import "errors"

// explain turns an error into what a person reads: what happened, what it means,
// what to do.
func explain(err error) Problem {
	for _, k := range known {
		if errors.Is(err, k.err) {
			return Problem{What: k.what, Help: k.help, Detail: err.Error()}
		}
	}
	return Problem{Detail: err.Error(),
		What: Text{"A copy could not be made. The evidence is still safe on this device; it is tried again by itself.",
			"コピーできませんでした。証拠はこの装置に残っています。自動的にやり直します。"},
		Help: Text{"If this stays for a day, call your IT vendor and read the details to them.",
			"1日たっても直らない場合は、業者に連絡し、詳細を伝えてください。"}}
}

// known is the errors that a person can do something about, the more special
// one first.
var known = []struct {
	err        error
	what, help Text
}{
	{ErrRemoved,
		Text{"The USB stick was pulled out, or broke, while evidence was being copied. The evidence on this device is unharmed; what is on the stick under its final name is whole.",
			"コピー中にUSBメモリーが抜かれたか、故障しました。装置内の証拠は無事です。USBメモリーに正式な名前で入っているファイルは完全です。"},
		Text{"Plug the stick in again; copying goes on by itself. If it happens twice, use another stick.",
			"もう一度挿してください。自動的に続きをコピーします。繰り返す場合は別のUSBメモリーを使ってください。"}},
	{ErrReadOnly,
		Text{"The USB stick is write-protected, so nothing could be copied to it.", "USBメモリーが書き込み禁止のため、コピーできません。"},
		Text{"Slide the stick's lock switch, or use another stick.", "USBメモリーの書き込み禁止スイッチを解除するか、別のUSBメモリーを使ってください。"}},
	{ErrFull,
		Text{"There is not enough room for the evidence at this target.", "コピー先の空き容量が足りません。"},
		Text{"Use a larger stick, or make room. Do not delete anything in the folder SEKISHO-EVIDENCE.",
			"容量の大きいUSBメモリーを使うか、空きを作ってください。SEKISHO-EVIDENCEフォルダーの中は消さないでください。"}},
	{ErrTooLarge,
		Text{"The stick is formatted as FAT32, which takes no file of 4 GB or more; one bundle is larger.",
			"USBメモリーがFAT32形式のため、4GB以上のファイルを保存できません。"},
		Text{"Use a stick that is formatted as exFAT.", "exFAT形式のUSBメモリーを使ってください。"}},
	{ErrConflict,
		Text{"Another file with this name is there already, with other contents. It was left as it is: it may have been changed by somebody, which is worth knowing.",
			"同じ名前で中身の違うファイルがすでにあります。そのまま残しました。誰かが書き換えた可能性があります。"},
		Text{"Do not delete it. Tell your IT vendor; to get a copy meanwhile, use another stick or target.",
			"消さずに業者へ連絡してください。急ぐ場合は別のUSBメモリーやコピー先を使ってください。"}},
	{ErrSource,
		Text{"The evidence on this device could not be read as it was sealed, so it was not copied.",
			"装置内の証拠を、封印したときのとおりに読み出せなかったため、コピーしていません。"},
		Text{"Do not switch the device off. Call your IT vendor: the evidence disk may be failing.",
			"装置の電源を切らずに、業者へ連絡してください。証拠用ディスクが故障しかけている可能性があります。"}},
	{ErrDamaged,
		Text{"What was read back from the copy is not what was written: the medium or the server damages data. It does not count as a copy.",
			"コピーを読み直したところ、中身が違っていました。保存先が壊れている可能性があります。コピー済みとして扱いません。"},
		Text{"Use another stick, or have the server's disks checked.", "別のUSBメモリーを使うか、サーバーのディスクを点検してください。"}},
	{ErrNoLock,
		Text{"The storage does not lock objects, so somebody who breaks into the office could delete the copies. This does not count as a copy.",
			"保存先のバケットでオブジェクトロックが効いていません。侵入者にコピーを消されるおそれがあるため、コピー済みとして扱いません。"},
		Text{"Have your IT vendor create a bucket with object lock enabled (it can only be switched on there) and enter it in the settings.",
			"オブジェクトロックを有効にしたバケットを作り、設定に入力するよう、業者に依頼してください。"}},
	{ErrIdentity,
		Text{"The server could not prove that it is the one in the settings. It may be another machine that pretends to be it; nothing was sent.",
			"接続先が、設定に登録されたサーバーであることを確認できませんでした。なりすましの可能性があるため、何も送っていません。"},
		Text{"Check this device's clock. If it is right, ask whoever runs the server whether its key or certificate was changed; enter the new one only when they confirm it by telephone.",
			"まずこの装置の時計を確認してください。合っている場合は、鍵や証明書を変更したかをサーバーの管理者に電話で確認し、確認できた場合だけ新しいものを設定に登録してください。"}},
	{ErrDenied,
		Text{"The server refuses our key or password, or forbids to write.", "サーバーが認証または書き込みを拒否しました。"},
		Text{"Have your IT vendor check the account, its rights and, for SFTP, that the public key shown on this page is entered there.",
			"アカウントと権限、SFTPの場合はこの画面の公開鍵がサーバーに登録されているかを、業者に確認してもらってください。"}},
	{ErrNoAddress,
		Text{"The server does not answer. Evidence waits on this device and is copied when the server is back.",
			"サーバーから応答がありません。証拠はこの装置で待機し、つながりしだいコピーします。"},
		Text{"Nothing, if the internet is down. Otherwise check the server's address in the settings.",
			"インターネットが切れている場合は、何もする必要はありません。そうでなければ、設定のサーバーアドレスを確認してください。"}},
	{ErrName,
		Text{"The bundle has a name that not every computer can store.", "証拠の名前に、保存できない文字が含まれています。"},
		Text{"Tell your IT vendor; this is a fault of the software.", "ソフトウェアの不具合です。業者に連絡してください。"}},
}
