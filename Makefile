# The two commands of the README are `make run` and `make test`.
# Debian 12 packages that are missing are installed, with sudo unless root calls.

SWIFT ?= swift
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr
DEMO := /tmp/jotd-demo
JOTD := .build/release/jotd
BUILD_PACKAGES := libssl-dev libsystemd-dev libyaml-dev pkg-config
TEST_PACKAGES := python3-pytest python3-jwt jwt strace gcc libc6-dev curl prometheus bsdutils \
  netcat-openbsd socat
SYSTEM_PACKAGES := systemd systemd-container dbus man-db curl python3-pytest python3-jwt
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# install-missing, PACKAGES: installs those that dpkg does not have.
define install-missing
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null \
  | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "== Installing" $$missing; \
  $(SUDO) apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; fi
endef

.PHONY: help build run test test-pure simulate test-binary test-system lint install clean
help:
	@echo "make run      build jotd and watch it rotate three tokens (Ctrl-C stops it)"
	@echo "make test     build jotd and run all tests that need no root"
	@echo "make install  install the program, its units and manual pages below $(PREFIX)"
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
	@JOTD=$(CURDIR)/$(JOTD) $(PYTHON) -m pytest -q -p no:cacheprovider Tests/binary

# The service under a real systemd, in a container of its own. Needs root.
test-system: build
	$(call install-missing,$(SYSTEM_PACKAGES))
	@echo "== Testing the service under systemd"
	@JOTD=$(CURDIR)/$(JOTD) $(PYTHON) -m pytest -q -p no:cacheprovider Tests/system

lint:
	@echo "== Checking format and house rules"
	@$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests
	@$(PYTHON) Tests/tidy.py

# After `make build`: it builds nothing, so that sudo needs no Swift.
install:
	@[ -x $(JOTD) ] || { echo "run make build first"; exit 1; }
	install -D -m 0755 $(JOTD) $(DESTDIR)$(PREFIX)/bin/jotd
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/jotd.service systemd/jotd.socket
	install -D -m 0644 systemd/jotd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/jotd.conf
	install -D -m 0644 systemd/jotd.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/jotd.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/catalog systemd/jotd.catalog
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 doc/jotd.8
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 doc/jotd.yaml.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/jotd Config/jotd.yaml README.md systemd/camera-client.service
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(JOTD) --generate-completion-script bash \
	  > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/jotd

clean:
	rm -rf .build
