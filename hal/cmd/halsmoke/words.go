package main

import (
	"errors"
	"strings"
)

// text is what the program says in one language.
type text struct {
	lang    string
	yesNo   string
	verdict map[string]string
	push    string // %d presses
	bounced string // presses, bounces, longest
	lit     map[string]string
	beeped  string
	drawn   map[string]string
	mend    map[string]string // by what is wrong
}

var words = map[string]text{
	"en": {
		lang: "en", yesNo: "[y = yes, n = no, q = stop]",
		verdict: map[string]string{fine: "OK", bad: "FAULT", absent: "not there", unseen: "answers (not looked at)"},
		push:    "Press the button %d times, quickly.",
		bounced: "%d presses, %d bounces, the longest %v",
		lit: map[string]string{
			"red": "Is the lamp red, and nothing else?", "green": "Is the lamp green, and nothing else?", "blue": "Is the lamp blue, and nothing else?",
			"amber": "Is the lamp amber: clearly unlike green, and unlike red?",
		},
		beeped: "Did it beep three times?",
		drawn: map[string]string{
			"corners":  "Is there a thin frame along all four edges, and a block in the upper left corner?",
			"all-on":   "Is every dot lit?",
			"grey":     "Is the left half evenly grey, and the right half finely striped?",
			"text":     "Can you read the text, upright and sharp?",
			"contrast": "Did the bars go from dim to bright and back?",
		},
		mend: map[string]string{
			"permission": "This program may not open the device. Run it as root, or: sudo usermod -aG gpio,i2c $USER, and log in again.",
			"bus":        "The I2C bus is off. Write dtparam=i2c_arm=on into config.txt on the boot partition, and i2c-dev into /etc/modules; then restart.",
			"chip":       "Run this on the Raspberry Pi itself. If this is it, its kernel has no driver for the header: a Raspberry Pi 5 needs Raspberry Pi OS, or a Debian kernel newer than 6.12.",
			"busy":       "Something else has the line. Stop the gateway (systemctl stop sekisho); gpioinfo shows who it is.",
			"line":       "There is no such line. gpioinfo shows their names.",
			"elsewhere":  "The screen has the other address: use --screen-address 61 (0x3D) or 60 (0x3C), and panel.screen_address in the settings.",
			"screen":     "The screen does not answer. Check its four wires, and that VCC is on pin 1 (3.3 V). Something else on the bus? i2cdetect -y 1 shows what answers.",
			"held":       "Let go of the button. If nobody touches it, its two wires touch each other, or it wants --active-high.",
			"press":      "Check the wires: header pins 11 and 9. A push button has pairs of legs that are always connected: use two that are not.",
			"bounce":     "Use another button, or put 100 nF across it.",
			"light":      "Check the light's resistor and wire, and that the longest leg is on ground. A lamp that shines when it should not has a common anode: --lamp-active-low.",
			"amber":      "Give green a larger resistor (220 ohms) when amber looks green, and red a smaller one when it looks red.",
			"buzzer":     "Check + and -, the transistor's legs, and that the buzzer sounds by itself when it gets 3.3 V.",
			"picture":    "Two columns of noise, or a shifted frame: the other controller (--screen sh1106). Upside down: --screen-upside-down. Only every other row: --screen-height.",
			"other":      "Check the wires against the drawing in hal/rpi.",
		},
	},
	"ja": {
		lang: "ja", yesNo: "[y = はい, n = いいえ, q = 中止]",
		verdict: map[string]string{fine: "正常", bad: "異常", absent: "なし", unseen: "応答あり（目視の確認はしていません）"},
		push:    "ボタンを、続けて%d回押してください。",
		bounced: "押下 %d回、接点のばたつき %d回、最長 %v",
		lit: map[string]string{
			"red": "ランプは赤だけが点灯していますか？", "green": "ランプは緑だけが点灯していますか？", "blue": "ランプは青だけが点灯していますか？",
			"amber": "ランプは橙色で、緑とも赤ともはっきり見分けられますか？",
		},
		beeped: "ブザーは3回鳴りましたか？",
		drawn: map[string]string{
			"corners":  "画面の四辺に細い枠があり、左上の角に四角が見えますか？",
			"all-on":   "すべての点が光っていますか？",
			"grey":     "左半分は一様な灰色、右半分は細かいしま模様に見えますか？",
			"text":     "文字が正しい向きで、はっきり読めますか？",
			"contrast": "しま模様が、暗い状態から明るくなり、元に戻りましたか？",
		},
		mend: map[string]string{
			"permission": "装置を開く権限がありません。管理者（root）として実行するか、sudo usermod -aG gpio,i2c $USER を実行し、ログインし直してください。",
			"bus":        "I2Cが有効になっていません。起動パーティションの config.txt に dtparam=i2c_arm=on、/etc/modules に i2c-dev と書き、再起動してください。",
			"chip":       "Raspberry Pi本体で実行してください。本体で実行してもこう表示されるときは、ピンヘッダー用のドライバーがありません。Raspberry Pi 5 には、Raspberry Pi OS、または 6.12 より新しい Debian のカーネルが必要です。",
			"busy":       "ほかのプログラムがこの線を使っています。本体のサービスを止めてください（systemctl stop sekisho）。使用中のプログラムは gpioinfo で分かります。",
			"line":       "その名前の線はありません。名前は gpioinfo で確認できます。",
			"elsewhere":  "画面は別のアドレスで応答しています。--screen-address 61（0x3D）または 60（0x3C）を指定し、設定の panel.screen_address も合わせてください。",
			"screen":     "画面が応答しません。4本の線と、VCC が1番ピン（3.3 V）につながっていることを確認してください。i2cdetect -y 1 で、応答する機器が分かります。",
			"held":       "ボタンから手を離してください。触れていない場合は、2本の線が接触しているか、--active-high の指定が必要です。",
			"press":      "配線（11番と9番ピン）を確認してください。押しボタンには常につながっている足の組があります。つながっていない2本を使ってください。",
			"bounce":     "別のボタンに替えるか、ボタンと並列に 100 nF のコンデンサーを入れてください。",
			"light":      "抵抗と配線、いちばん長い足が GND につながっていることを確認してください。消えるはずのときに光る場合は、アノードコモンです（--lamp-active-low）。",
			"amber":      "緑に見える場合は緑の抵抗を大きく（220 Ω）、赤に見える場合は赤の抵抗を小さくしてください。",
			"buzzer":     "＋と−、トランジスターの足、3.3 V で鳴るブザー（自励式）であることを確認してください。",
			"picture":    "端に乱れた列がある、枠がずれる：コントローラーが違います（--screen sh1106）。上下が逆：--screen-upside-down。1行おきに欠ける：--screen-height。",
			"other":      "配線を hal/rpi の図と照らし合わせてください。",
		},
	},
}

// advice is what to do about a fault. The drivers below tell of the kernel's answers
// in words alone (periph.io drops the number), so the words decide.
func (w text) advice(step string, err error) string {
	says := func(part string) bool { return strings.Contains(err.Error(), part) }
	key := "other"
	switch {
	case errors.Is(err, errHeldDown):
		key = "held"
	case errors.Is(err, errNotPressed):
		key = "press"
	case errors.Is(err, errBounces):
		key = "bounce"
	case errors.Is(err, errElsewhere):
		key = "elsewhere"
	case says("permission denied"), says("cannot be opened"):
		key = "permission"
	case says("is not configured"), says("no I2C bus"):
		key = "bus"
	case says("no GPIO chip"), says("panel.chip"):
		key = "chip"
	case says("busy"), says("in use"):
		key = "busy"
	case says("no line"):
		key = "line"
	case step == "red", step == "green", step == "blue":
		key = "light"
	case step == "amber", step == "buzzer":
		key = step
	case strings.HasPrefix(step, "screen-") && errors.Is(err, errNotSeen):
		key = "picture"
	case strings.HasPrefix(step, "screen-"):
		key = "screen"
	}
	return w.mend[key]
}
