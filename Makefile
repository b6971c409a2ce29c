# The two commands of the README are `make run` and `make test`.
# Debian 12 packages that are missing are installed, with sudo unless root calls.

SWIFT ?= swift
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr
DEMO := /tmp/jotd-demo
JOTD := .build/release/jotd
BUILD_PACKAGES := libssl-dev libsystemd-dev libyaml-dev pkg-config
TEST_PACKAGES := python3-pytest python3-jwt jwt strace gcc libc6-dev curl prometheus bsdutils \
  netcat-openbsd socat python3-hypothesis python3-yaml
POWER_PACKAGES := python3-pytest python3-jwt python3-fusepy xfsprogs btrfs-progs e2fsprogs \
  gcc libc6-dev util-linux
SYSTEM_PACKAGES := systemd systemd-container dbus man-db curl python3-pytest python3-jwt
PYTEST := JOTD=$(CURDIR)/$(JOTD) $(PYTHON) -m pytest -q -p no:cacheprovider
FUZZ_SECONDS ?= 600
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# install-missing, PACKAGES: installs those that dpkg does not have.
define install-missing
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null \
  | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "== Installing" $$missing; \
  $(SUDO) apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; fi
endef

.PHONY: help build run test test-pure simulate test-binary test-faults test-power \
  test-soak test-sanitized test-system mutations fuzz lint install clean
help:
	@echo "make run      build jotd and watch it rotate three tokens (Ctrl-C stops it)"
	@echo "make test     build jotd and run all tests that need no root"
	@echo "make install  install the program, its units and manual pages below $(PREFIX)"
	@echo "make test-faults test-power test-system    what needs root"
	@echo "make test-soak test-sanitized mutations fuzz    what takes long"
	@echo "make lint     check format and house rules"

build:
	$(call install-missing,$(BUILD_PACKAGES))
	@echo "== Building jotd (about two minutes the first time)"
	@$(SWIFT) build -c release --static-swift-stdlib --product jotd

run: build
	@install -d -m 0700 $(DEMO)
	@[ -s $(DEMO)/secret ] || (umask 077 && printf %s "$$($(JOTD) secret)" > $(DEMO)/secret)
	@echo "== jotd keeps three tokens fresh, as Config/demo.yaml says. In another terminal, try:"
	@echo "     cat $(DEMO)/viewer.jwt"
	@echo "     $(CURDIR)/$(JOTD) decode < $(DEMO)/viewer.jwt"
	@echo "     cat $(DEMO)/operator.env $(DEMO)/admin.json"
	@echo "     $(CURDIR)/$(JOTD) status --watch --config $(CURDIR)/Config/demo.yaml"
	@echo "     curl --unix-socket $(DEMO)/jotd.sock http://jotd/health"
	@echo "   and again ten seconds later. Ctrl-C stops it."
	@exec $(JOTD) run --config Config/demo.yaml

test: build test-pure test-binary

# The pure core: properties, vectors and the simulated host.
test-pure:
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
	@$(PYTEST) Tests/binary --ignore Tests/binary/test_faults.py

# Every system call of a rotation fails in turn, and ends the daemon in turn. Needs root.
test-faults: build
	$(call install-missing,$(TEST_PACKAGES))
	@echo "== Testing the binary with I/O faults"
	@$(PYTEST) Tests/binary/test_faults.py

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

# The core and the binary under the thread sanitizer, and under that for addresses and leaks.
test-sanitized:
	$(call install-missing,$(BUILD_PACKAGES) $(TEST_PACKAGES))
	@SWIFT=$(SWIFT) PYTHON=$(PYTHON) Tests/sanitizers/run.sh thread
	@SWIFT=$(SWIFT) PYTHON=$(PYTHON) Tests/sanitizers/run.sh address

# Deliberate faults of the core, each of which the simulated host must find.
mutations:
	$(call install-missing,$(BUILD_PACKAGES))
	@echo "== Putting faults into the core"
	@SWIFT=$(SWIFT) $(PYTHON) Tests/mutations/run.py

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

lint:
	@echo "== Checking format and house rules"
	@$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests
	@$(PYTHON) Tests/tidy.py

# After `make build`: it builds nothing, so that sudo needs no Swift.
install:
	@[ -x $(JOTD) ] || { echo "run make build first"; exit 1; }
	install -D -m 0755 $(JOTD) $(DESTDIR)$(PREFIX)/bin/jotd
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/jotd.service systemd/jotd.socket
	sed -i 's|/usr/bin/jotd|$(PREFIX)/bin/jotd|' $(DESTDIR)$(PREFIX)/lib/systemd/system/jotd.service
	install -D -m 0644 systemd/jotd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/jotd.conf
	install -D -m 0644 systemd/jotd.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/jotd.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/catalog systemd/jotd.catalog
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 doc/jotd.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 doc/jotd.yaml.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/jotd Config/jotd.yaml README.md systemd/camera-client.service
	install -D -m 0644 /dev/null $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jotd
	$(JOTD) --generate-completion-script bash \
	  > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jotd

# Removes what install put there, with the same PREFIX and DESTDIR, and nothing else. Stops nothing.
.PHONY: uninstall
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/jotd share/bash-completion/completions/jotd \
	  $(addprefix lib/,systemd/system/jotd.service systemd/system/jotd.socket sysusers.d/jotd.conf \
	    tmpfiles.d/jotd.conf systemd/catalog/jotd.catalog) \
	  $(addprefix share/,man/man8/jotd.8 man/man5/jotd.yaml.5 \
	    $(addprefix doc/jotd/,jotd.yaml README.md camera-client.service)))
	@[ ! -d $(DESTDIR)$(PREFIX)/share/doc/jotd ] \
	  || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX)/share/doc/jotd

clean:
	rm -rf .build .build-*
