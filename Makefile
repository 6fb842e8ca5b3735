# Halftone's front door. `make help` lists what it does.
BUILD ?= build
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
PACKAGES := gcc meson ninja-build pkg-config libssl-dev libyaml-dev libpcre2-dev libutf8proc-dev \
            libjansson-dev zlib1g-dev libcurl4-openssl-dev libsqlite3-dev libmicrohttpd-dev libcmocka-dev

.PHONY: all page demo test parity bench fuzz packages install clean help format lint

all: $(BUILD)/build.ninja ## build build/halftone and build/libhalftone.so
	@ninja -C $(BUILD) $(NINJAFLAGS)

# Sources are found by folder: configured anew when the list of files changes.
SOURCES := $(shell find src apps tests bench tools -name '*.c' -o -name meson.build -o -name '*.sh' | LC_ALL=C sort | cksum | cut -d' ' -f1)
$(BUILD)/build.ninja: $(BUILD)/.sources-$(SOURCES) $(BUILD)/.page
	@test -f $@ && meson setup --reconfigure $(BUILD) >/dev/null || meson setup $(BUILD) $(MESONFLAGS)
	@touch $@
$(BUILD)/.sources-$(SOURCES): | check-packages
	@mkdir -p $(BUILD) && rm -f $(BUILD)/.sources-* && touch $@
# What the web page needs is fetched once, where there is npm; without it the program gets a plain page.
$(BUILD)/.page: web/package-lock.json
	@mkdir -p $(BUILD)
	@tools/page_packages.sh
	@touch $@
page: ## fetch what the web page needs (npm), and build
	@rm -f $(BUILD)/.page
	@$(MAKE) --no-print-directory all

.PHONY: check-packages
check-packages:
	@missing=; for p in meson ninja pkg-config cc; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	 for l in libcrypto yaml-0.1 libpcre2-8 libutf8proc jansson zlib libcurl sqlite3 libmicrohttpd cmocka; do \
	   pkg-config --exists $$l 2>/dev/null || missing="$$missing $$l"; done; \
	 if [ -n "$$missing" ]; then echo "missing:$$missing"; \
	   echo "Debian: $(SUDO) apt-get install $(PACKAGES)   (or: make packages)"; exit 1; fi

packages: ## install what building needs (Debian)
	@missing=; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	 if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; fi

demo: packages ## install, build, and quantize the example model
	@$(MAKE) --no-print-directory all
	@rm -rf out/demo
	$(BUILD)/halftone quantize examples/model -t Q4_K_M,Q5_K_M,Q8_0 -o out/demo
	@echo "Next: $(BUILD)/halftone serve --models examples   and http://127.0.0.1:8700/ in a browser"

# The browser that the page is tested in: not needed to build, and missed aloud by the tests.
.PHONY: test-packages
test-packages: packages
	@command -v chromium >/dev/null || $(SUDO) apt-get install -y -qq chromium >/dev/null 2>&1 || echo "no Chromium: the page is not tested"

test: test-packages ## install, build, and pass every test
	@$(MAKE) --no-print-directory all
	@tools/run_tests.sh $(BUILD)

parity: all ## compare with the programs that people use (installs them once)
	@tests/parity/run.sh $(BUILD)

bench: all ## times, side by side with the reference library
	@bench/run.sh $(BUILD)

# What takes too long for every change: 200 kills of the service and of its jobs, full disks, and the fuzzers.
.PHONY: nightly
nightly: all ## the long tests: kill -9 at 200 moments, every fuzzer (clang)
	@ninja -C $(BUILD) tests/worker tests/libkill_at.so
	@python3 tests/server/test_runner.py $(BUILD)/tests/worker $(BUILD)/halftone examples/model \
	    killed killed_at full_at --kills 200 --kill-at $(BUILD)/tests/libkill_at.so
	@tests/fuzz/run.sh

fuzz: ## run every fuzzer for a minute (clang)
	@tests/fuzz/run.sh

install: all ## install to the prefix that meson was given
	@meson install -C $(BUILD)

format: ## format the sources
	@git ls-files '*.c' '*.h' | xargs clang-format -i

lint: ## floors, exports, style
	@tools/check_floors.sh && tools/check_exports.sh $(BUILD)

clean: ## remove what was built
	@rm -rf $(BUILD) out

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
