# Sekisho: see README.md. `make help` lists the targets.

SHELL    := /bin/bash
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
SCENARIO ?= worm

STATICCHECK := v0.8.2

# What each target needs from Debian besides Go, git and make. A package is
# recognised by a file that it installs. Debian starts the servers of samba and
# OpenSSH when they are installed; the programs alone are needed, so they are stopped.
BUILD_PKGS := gcc:/usr/bin/gcc libc6-dev:/usr/include/stdio.h
LAB_PKGS   := iproute2:/usr/sbin/ip nftables:/usr/sbin/nft dnsmasq-base:/usr/sbin/dnsmasq samba:/usr/sbin/smbd \
              smbclient:/usr/bin/smbclient nmap:/usr/bin/nmap dsniff:/usr/sbin/arpspoof hping3:/usr/sbin/hping3 \
              hydra:/usr/bin/hydra dropbear-bin:/usr/sbin/dropbear ettercap-text-only:/usr/bin/ettercap iodine:/usr/sbin/iodine \
              iputils-ping:/usr/bin/ping curl:/usr/bin/curl python3-impacket:/usr/share/doc/python3-impacket/examples/psexec.py
TEST_PKGS  := conntrack:/usr/sbin/conntrack procps:/usr/sbin/sysctl strace:/usr/bin/strace chromium:/usr/bin/chromium \
              fonts-noto-cjk:/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc tshark:/usr/bin/tshark tcpdump:/usr/bin/tcpdump \
              openssl:/usr/bin/openssl age:/usr/bin/age python3:/usr/bin/python3 openssh-server:/usr/sbin/sshd \
              hostapd:/usr/sbin/hostapd smartmontools:/usr/sbin/smartctl systemd:/usr/lib/systemd/systemd-networkd e2fsprogs:/usr/sbin/mkfs.ext4 util-linux:/usr/sbin/losetup
BENCH_PKGS := tcpdump:/usr/bin/tcpdump wireshark-common:/usr/bin/dumpcap
TWIN_PKGS  := qemu-system-arm:/usr/bin/qemu-system-aarch64 gcc-aarch64-linux-gnu:/usr/bin/aarch64-linux-gnu-gcc \
              libc6-dev-arm64-cross:/usr/aarch64-linux-gnu/include/stdio.h e2fsprogs:/usr/sbin/mkfs.ext4 kmod:/usr/sbin/depmod \
              qemu-utils:/usr/bin/qemu-img device-tree-compiler:/usr/bin/fdtput iproute2:/usr/sbin/ip procps:/usr/sbin/sysctl iputils-ping:/usr/bin/ping

define need
@missing=; for p in $(1); do [ -e "$${p#*:}" ] || missing="$$missing $${p%%:*}"; done; \
if [ -n "$$missing" ]; then \
	echo "installing Debian packages:$$missing (root is asked for only here)" >&2; \
	as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	if [ -n "$$as" ] && ! command -v sudo >/dev/null; then echo "run as root: apt-get install$$missing" >&2; exit 1; fi; \
	$$as apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -q --no-install-recommends $$missing >/dev/null || exit 1; \
	case "$$missing" in *samba*) $$as systemctl disable -q --now smbd nmbd samba-ad-dc 2>/dev/null || :;; esac; \
	case "$$missing" in *openssh-server*) $$as systemctl disable -q --now ssh 2>/dev/null || :;; esac; \
fi
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/sekisho and bin/sekishoctl
	$(call need,$(BUILD_PKGS))
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sekisho ./firmware/cmd/sekisho
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sekishoctl ./firmware/cmd/sekishoctl

VENDOR := windows/amd64 windows/arm64 darwin/amd64 darwin/arm64 linux/amd64 linux/arm64

.PHONY: vendor
vendor: ## build sekishoctl for the vendor's systems into bin/vendor
	@for s in $(VENDOR); do \
		exe=; [ "$${s%/*}" != windows ] || exe=.exe; \
		out=bin/vendor/sekishoctl-$${s%/*}-$${s#*/}$$exe; echo $$out; \
		CGO_ENABLED=0 GOOS=$${s%/*} GOARCH=$${s#*/} go build -trimpath -ldflags '$(LDFLAGS)' -o $$out ./firmware/cmd/sekishoctl || exit 1; \
	done

.PHONY: run
run: build ## start the gateway on a virtual office; SCENARIO=worm|ransomware|dns-tunnel and more: sekisho demo --help
	$(call need,$(LAB_PKGS))
	bin/sekisho demo --scenario $(SCENARIO)

.PHONY: test
test: build lint ## everything that needs no virtual machine
	$(call need,$(LAB_PKGS) $(TEST_PKGS))
	go test -race -timeout 25m ./...
	go test -run '^TestTenMillion' -timeout 15m ./firmware/gateway

# One machine at a time: two would share the processors that each is measured by.
TWIN := go test -tags twin -count=1 -v -p 1

.PHONY: test-vm
test-vm: test-power ## the digital twin: power cuts, and everything that runs on Debian's arm64 kernel in QEMU
	$(TWIN) -timeout 30m -run InTheTwin $$(go list -tags twin ./image/twin/... ./netcontain/... ./hal/rpi/... ./firmware/gateway | grep -v /powercut)

.PHONY: test-power
test-power: ## power cuts under evidence, ledger and database
	$(call need,$(BUILD_PKGS) $(TWIN_PKGS))
	$(TWIN) -timeout 30m -run 'InTheTwin$$' ./image/twin/powercut

.PHONY: test-twin
test-twin: ## the gateway in the twin, briefly: boot, a press on the button, isolation, release; and the screen
	$(call need,$(BUILD_PKGS) $(TWIN_PKGS))
	$(TWIN) -timeout 15m -run 'TheGatewayInTheTwin/short|TheScreenInTheTwin' ./image/twin/office

# Benchmarks of one package, one line each: name, then every figure with its unit.
define bench
@echo; echo "== $(1)"
@set -o pipefail; go test -run '^$$' -bench '$(3)' -benchtime $(4) -benchmem -timeout 20m $(2) | awk '\
	/^Benchmark/ { sub(/^Benchmark/, "", $$1); sub(/-[0-9]+$$/, "", $$1); printf "%-24s", $$1; \
		for (i = 3; i < NF; i += 2) printf "  %s %s", $$i, $$(i+1); print ""; next } \
	/^(---|FAIL|panic|#)|_test.go:/'
endef

CORPUS ?= ../shared/corpus
EVAL   ?=

.PHONY: eval
eval: ## score the detectors over the captures in CORPUS; EVAL='--files --json out.json' and more: --help
	go run ./firmware/cmd/eval --corpus $(CORPUS) $(EVAL)

.PHONY: bench
bench: build ## measure: ratios in one run, see firmware/README.md
	$(call need,$(LAB_PKGS) $(BENCH_PKGS) $(TWIN_PKGS))
	@uname -srm; nproc | sed 's/$$/ processors, load before: /' | tr -d '\n'; cut -d' ' -f1 /proc/loadavg
	$(call bench,header path and flow: an op is the whole mix,./firmware/flow,^Benchmark(Header|HeaderPlusMap|Tracker|Ratio)$$,1s)
	$(call bench,pipeline without and with the spool: an op is one frame,./firmware/gateway,^BenchmarkPipeline$$,3000000x)
	$(call bench,ring alone and ring + spool + pipeline on a veth pair,./firmware/capture ./firmware/gateway,^BenchmarkLive(Ring|Path)$$,2000000x)
	$(call bench,the same traffic to our spool and to dumpcap and tcpdump in turns,./firmware/gateway,^BenchmarkPeers$$,1000000x)
	$(call bench,hosts isolated and released at once and in turns with nft -f,./netcontain/nft,^BenchmarkApply$$,200x)
	$(call bench,a saved transition and a logged action,./firmware/store ./firmware/ledger,^Benchmark(SaveIncident|Append)$$,200x)
	$(call bench,look-up and freeze over the size of the spool,./firmware/evidence,^Benchmark(Find|Pin)$$,5x)
	$(call bench,the spool alone,./firmware/evidence,^BenchmarkSpoolWrite$$,1000000x)
	$(call bench,extraction of one host,./firmware/evidence,^BenchmarkExtract$$,5x)
	$(call bench,verification of a bundle,./firmware/evidence,^BenchmarkVerify$$,20x)
	$(call bench,button edge to lamp and screen and the last frame on a wire; release to the first: the gateway emulated in the twin,-tags twin ./image/twin/office,^BenchmarkPress$$,100x)
	@echo; echo "== button to isolation on the virtual office"
	@bin/sekisho bench

.PHONY: image
image: ## the OS image (not built yet)
	@echo "the OS image is not built yet" >&2; exit 1

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	$(call need,$(BUILD_PKGS))
	@out=$$(gofmt -l firmware hal netcontain ui image); [ -z "$$out" ] || { echo "run gofmt -w on: $$out" >&2; exit 1; }
	go vet ./...
	go vet -tags twin,sample,guest ./image/... ./netcontain/... ./hal/... ./firmware/gateway
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) -tags twin,sample,guest ./image/... ./netcontain/... ./hal/... ./firmware/gateway

.PHONY: clean
clean: ## remove what build made
	rm -rf bin
