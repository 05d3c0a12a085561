package ui

import "sekisho/firmware/detect"

// wordsIn is the page's text in a language. TestWordsExistInBothLanguages
// holds the two to the same keys.
func wordsIn(lang string) map[string]string {
	if lang == "en" {
		return english
	}
	return japanese
}

var japanese = map[string]string{
	"title": "関所", "sub": "社内ネットワークの見張り番", "lang_other": "English", "lang_code": "en",
	"stages": "検知|報告|封じ込め|根絶|復旧|改善",
	"panel":  "本体の画面", "lamp": "ランプ", "screen_alt": "本体の画面の表示", "button": "ボタン",
	"deed_isolate": "この機器を隔離する", "deed_page": "次の画面へ", "hold3": "業者の接続を許可する", "hold8": "全社の通信を止める（8秒間押し続ける）",
	"hold8_hint": "押し続けている間だけ進みます。途中で離すと中止します。", "hold8_left": "あと{n}秒。離すと中止します。", "hold8_go": "離すと全社の通信を止めます",
	"what_now": "いま行うこと", "suspect": "疑いのある機器", "seen_why": "見つかったこと", "proof": "確認の結果", "evidence": "保存した証拠",
	"incidents": "これまでの出来事", "none": "まだありません。", "devices": "つながっている機器", "health": "点検が必要な項目", "history": "経過", "older": "これより前の出来事もあります。",
	"name": "名前", "vendor": "メーカー", "kind": "種類", "address": "アドレス", "port": "ポート", "seen": "最後の通信", "protected": "自動では隔離しない", "held": "隔離中",
	"your_name": "あなたのお名前", "note": "確認した内容・理由", "release": "隔離を解除する", "dismiss": "問題なしとして終える", "isolate": "隔離する", "more": "詳しく見る・操作する",
	"release_hint": "ウイルス対策ソフトの検査が済み、業者または管理者が確認した後に解除してください。", "dismiss_hint": "終えると隔離も解除されます。理由は記録に残ります。",
	"drill": "訓練", "unnamed": "名前のない機器", "save": "保存", "call": "困ったときの連絡先", "offline": "本体とつながっていません。再接続しています…", "noscript": "この画面の操作には JavaScript が必要です。本体のボタンはそのまま使えます。",
	"sent": "受け付けました。", "back": "最初の画面に戻る", "error": "操作できませんでした", "confirm": "よろしいですか？",
	"head_normal": "異常は見つかっていません", "head_open": "感染の疑いがある機器があります", "head_containing": "隔離しています", "head_contained": "隔離できました",
	"head_best_effort": "できる範囲で隔離しています", "head_contain_failed": "隔離できていません。線を抜いてください", "head_eradicating": "隔離したまま、原因を取り除いています", "head_probation": "復帰しました。しばらく見守ります", "head_fault": "本体の点検が必要です",
	"steps_normal":         "いまは何もする必要はありません。|ふだんの連絡先を確かめ、ときどき訓練をしておくと安心です。",
	"steps_open":           "機器の名前と場所を確かめます。|ボタンを押して、その機器だけを隔離します。ほかの機器の仕事は続けられます。|使っている人に声をかけます。電源は切らないでください。証拠が消えてしまいます。|責任者に報告します。",
	"steps_containing":     "そのままお待ちください。通信が止まったことを確かめています。|電源は切らないでください。",
	"steps_contained":      "電源は切らず、その機器を使わないでください。|責任者と外部の業者に連絡します。時刻・機器の名前・見つかったことは、下に記録されています。|業者と一緒に原因を取り除き、ウイルス検査をします。|確認が済んだら、下の「隔離を解除する」で戻します。",
	"steps_best_effort":    "同じ集線装置につながる機器とは、まだ通信できる可能性があります。|できれば、その機器のLANケーブルを抜いてください。電源は切らないでください。|責任者と外部の業者に連絡します。",
	"steps_contain_failed": "画面に出ている番号のLANケーブルを、いますぐ抜いてください。|電源は切らないでください。証拠が消えてしまいます。|外部の業者に電話します。",
	"steps_eradicating":    "業者の指示に従い、原因を取り除きます。|作業の時刻・担当者・結果を記録します。|ほかの機器も検査してから、解除してください。",
	"steps_probation":      "ふだんどおり使えます。同じ動きがあれば、すぐにお知らせします。|原因と対策を書き留め、次に活かします（改善）。",
	"steps_fault":          "画面に出ている内容を、業者に伝えてください。|社内の通信はそのまま使えます。",
	"state_open":           "疑いあり（未隔離）", "state_containing": "隔離の途中", "state_contained": "隔離済み", "state_eradicating": "根絶の作業中", "state_probation": "復帰・見守り中", "state_closed": "終了", "state_contain_failed": "隔離できていません", "state_dismissed": "問題なし",
	"kind_unknown": "不明", "kind_computer": "パソコン", "kind_phone": "スマートフォン", "kind_printer": "プリンター", "kind_server": "サーバー", "kind_network": "通信機器", "kind_iot": "家電・センサー", "kind_gateway": "この装置", "kind_router": "ルーター",
	"by_auto": "自動", "by_button": "本体のボタン", "by_policy": "設定による",
	"did_finding": "不審な動きを見つけました", "did_press": "ボタンが押されました", "did_request": "隔離が求められました", "did_auto": "自動で隔離を始めました", "did_applied": "通信を止めました", "did_apply_failed": "通信を止められませんでした",
	"did_proven": "通信が止まったことを確かめました", "did_leaked": "まだ通信が漏れています", "did_frozen": "証拠を確保しました", "did_freeze_failed": "証拠の一部を確保できませんでした", "did_sealed": "証拠を封印しました", "did_seal_failed": "証拠を封印できませんでした",
	"did_release": "隔離を解除しました", "did_eradicated": "根絶の作業を記録しました", "did_expired": "見守りを終えました", "did_dismiss": "問題なしとして終えました", "did_deadline": "期限になりました", "did_restart": "装置が再起動しました",
}

var english = map[string]string{
	"title": "Sekisho", "sub": "Watching over your office network", "lang_other": "日本語", "lang_code": "ja",
	"stages": "Detect|Report|Contain|Eradicate|Recover|Improve",
	"panel":  "The box's screen", "lamp": "Lamp", "screen_alt": "What the box's screen shows", "button": "Button",
	"deed_isolate": "Isolate this device", "deed_page": "Next page", "hold3": "Allow the vendor's access", "hold8": "Stop the whole office (hold for 8 s)",
	"hold8_hint": "It only counts while you hold. Letting go earlier cancels.", "hold8_left": "{n} s left. Let go to cancel.", "hold8_go": "Let go now to stop the whole office",
	"what_now": "What to do now", "suspect": "The device in question", "seen_why": "What was seen", "proof": "Proof", "evidence": "Evidence kept",
	"incidents": "What has happened", "none": "Nothing yet.", "devices": "Connected devices", "health": "Needs a check", "history": "Timeline", "older": "There are older ones too.",
	"name": "Name", "vendor": "Maker", "kind": "Kind", "address": "Address", "port": "Port", "seen": "Last seen", "protected": "Never isolate by itself", "held": "Isolated",
	"your_name": "Your name", "note": "What you checked, or why", "release": "End the isolation", "dismiss": "Close as harmless", "isolate": "Isolate", "more": "Details and actions",
	"release_hint": "Do this only after the virus scan is done and your vendor or manager has checked the device.", "dismiss_hint": "This also ends an isolation. The reason stays on record.",
	"drill": "Drill", "unnamed": "Unnamed device", "save": "Save", "call": "Who helps", "offline": "Not connected to the box. Trying again…", "noscript": "Using this page needs JavaScript. The button on the box works without it.",
	"sent": "Accepted.", "back": "Back to the start", "error": "That did not work", "confirm": "Are you sure?",
	"head_normal": "Nothing wrong has been found", "head_open": "A device may be infected", "head_containing": "Isolating", "head_contained": "Isolated",
	"head_best_effort": "Isolated as far as possible", "head_contain_failed": "Not isolated. Unplug the cable", "head_eradicating": "Isolated while the cause is removed", "head_probation": "Back, and being watched", "head_fault": "The box needs a check",
	"steps_normal":         "Nothing to do at the moment.|Check your contact list, and practise from time to time.",
	"steps_open":           "Check the device's name and place.|Press the button to isolate that device alone. Everybody else can go on working.|Tell whoever uses it. Do not switch it off: that would erase evidence.|Report to whoever is responsible.",
	"steps_containing":     "Please wait: we are checking that its traffic has stopped.|Do not switch it off.",
	"steps_contained":      "Leave it switched on, and do not use it.|Call whoever is responsible and your IT vendor. Times, names and what was seen are kept below.|Remove the cause together with the vendor, and scan for viruses.|When that is checked, use “End the isolation” below.",
	"steps_best_effort":    "It may still reach devices on the same small switch.|If you can, unplug its network cable. Do not switch it off.|Call whoever is responsible and your IT vendor.",
	"steps_contain_failed": "Unplug the cable with the number on the screen, now.|Do not switch the device off: that would erase evidence.|Call your IT vendor.",
	"steps_eradicating":    "Follow the vendor's advice to remove the cause.|Write down when, who and with what result.|Scan the other devices before ending the isolation.",
	"steps_probation":      "Use it as usual. If it happens again you are told at once.|Write down the cause and what to do better (improve).",
	"steps_fault":          "Tell your vendor what the screen says.|The office network goes on working.",
	"state_open":           "Suspected, not isolated", "state_containing": "Being isolated", "state_contained": "Isolated", "state_eradicating": "Being cleaned", "state_probation": "Back, being watched", "state_closed": "Closed", "state_contain_failed": "Not isolated", "state_dismissed": "Harmless",
	"kind_unknown": "Unknown", "kind_computer": "Computer", "kind_phone": "Phone", "kind_printer": "Printer", "kind_server": "Server", "kind_network": "Network", "kind_iot": "Appliance", "kind_gateway": "This box", "kind_router": "Router",
	"by_auto": "by itself", "by_button": "button on the box", "by_policy": "by the settings",
	"did_finding": "Something suspicious was seen", "did_press": "The button was pressed", "did_request": "Isolation was asked for", "did_auto": "Isolation began by itself", "did_applied": "Its traffic was stopped", "did_apply_failed": "Its traffic could not be stopped",
	"did_proven": "Checked: its traffic has stopped", "did_leaked": "Some traffic still gets through", "did_frozen": "Evidence was secured", "did_freeze_failed": "Some evidence could not be secured", "did_sealed": "Evidence was sealed", "did_seal_failed": "Evidence could not be sealed",
	"did_release": "The isolation was ended", "did_eradicated": "A cleaning step was recorded", "did_expired": "The watch is over", "did_dismiss": "Closed as harmless", "did_deadline": "A deadline passed", "did_restart": "The box was restarted",
}

// failures says what happened and what to do.
var failures = map[string]detect.Text{
	"host":           {EN: "This address is not one of the gateway's. Open the page by the address shown on the box.", JA: "このアドレスでは開けません。本体に表示されたアドレスで開いてください。"},
	"guard":          {EN: "You may not open this page from here. Use the box's own button, or ask the owner.", JA: "この場所からは開けません。本体のボタンを使うか、管理者にお尋ねください。"},
	"cross_origin":   {EN: "The request came from another web page and was not carried out. Open the gateway's page itself.", JA: "ほかのページからの操作のため、受け付けませんでした。この装置の画面を直接開いてください。"},
	"no_page":        {EN: "There is no such page.", JA: "そのページはありません。"},
	"unknown":        {EN: "That is not here any more. Load the page again.", JA: "対象が見つかりません。画面を読み込み直してください。"},
	"target_changed": {EN: "The screen names something else by now; nothing was done. Look again and press once more.", JA: "画面の表示が変わったため、何もしていません。もう一度確かめてから押してください。"},
	"not_asked":      {EN: "No vendor is waiting for permission; nothing was done.", JA: "許可を待っている業者はありません。何もしていません。"},
	"busy":           {EN: "The gateway is busy. Wait a moment and try again.", JA: "混み合っています。少し待ってから、もう一度お試しください。"},
	"gesture":        {EN: "Send a gesture (short, hold3 or hold8) and the target that the screen names.", JA: "操作の種類（short・hold3・hold8）と、画面に表示された対象を送ってください。"},
	"name":           {EN: "Please give your name (at most 80 characters). It is kept in the record.", JA: "お名前を入れてください（80文字まで）。記録に残ります。"},
	"note":           {EN: "Please write what you checked or why (at most 500 characters).", JA: "確認した内容や理由を入れてください（500文字まで）。"},
	"device_name":    {EN: "A device's name has at most 80 characters.", JA: "機器の名前は80文字までです。"},
	"refused":        {EN: "That cannot be done in the present state. Load the page again and look at the state.", JA: "いまの状態では行えません。画面を読み込み直し、状態を確かめてください。"},
	"json":           {EN: "Send JSON with Content-Type: application/json.", JA: "Content-Type: application/json で送ってください。"},
	"body":           {EN: "The request could not be understood. See /openapi.json.", JA: "内容を読み取れませんでした。/openapi.json をご覧ください。"},
	"too_large":      {EN: "The request is too large.", JA: "内容が大きすぎます。"},
	"internal":       {EN: "It did not work, and it has been logged. Try again; if it stays so, call your vendor.", JA: "うまくいきませんでした（記録しました）。もう一度試し、続くときは業者に連絡してください。"},
}
