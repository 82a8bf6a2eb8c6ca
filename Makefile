# gradwatch: `make help` lists the targets. Everything is fetched into this checkout; nothing needs root.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
CUDA ?=
CONFIG ?= configs/fashion-mnist-resnet8.toml
INSPECTION ?= configs/inspection-mobilenet_v2.toml
LOGDIR ?= logs
PORT ?= 6006

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Fetch libtorch, TensorBoard, Fashion-MNIST and the compiler of CUDA kernels (CUDA=1: libtorch with CUDA; found by itself with a driver)
	@setup/setup.sh libtorch $(if $(CUDA),cuda)
	@setup/setup.sh tensorboard
	@setup/setup.sh fashion-mnist
	@setup/setup.sh nvrtc

.PHONY: setup-data
setup-data: ## Fetch Fashion-MNIST only
	@setup/setup.sh fashion-mnist

.PHONY: setup-weights
setup-weights: ## Fetch MobileNetV2 with torchvision's ImageNet weights into models/
	@setup/setup.sh weights

.PHONY: setup-photos
setup-photos: setup-weights ## Fetch twenty photos of ImageNet and the weights that know them
	@setup/setup.sh photos

.PHONY: setup-inspection
setup-inspection: setup-weights ## Fetch images of solar cells (ELPV, 91 MB, for non-commercial use only) and MobileNetV2
	@setup/setup.sh elpv

.PHONY: build
build: setup-libtorch ## Build the program: target/release/gradwatch
	@cargo build --release --locked

.PHONY: setup-libtorch
setup-libtorch:
	@setup/setup.sh libtorch $(if $(CUDA),cuda)

.PHONY: demo
demo: setup-libtorch setup-data build ## Train ResNet-8 on Fashion-MNIST and say what the gradients did
	@setup/setup.sh tensorboard
	@target/release/gradwatch train $(CONFIG)

.PHONY: demo-inspection
demo-inspection: setup-libtorch setup-inspection build ## Find defective solar cells with MobileNetV2, from ImageNet's weights and from none
	@target/release/gradwatch train $(INSPECTION) --run-name inspection-random --resume auto $(ARGS)
	@target/release/gradwatch train $(INSPECTION) --run-name inspection-pretrained --resume auto \
	    --set model.weights=models/mobilenet_v2-b0353104.pth $(ARGS)
	@target/release/gradwatch evaluate logs/inspection-random
	@target/release/gradwatch evaluate logs/inspection-pretrained

.PHONY: tensorboard
tensorboard: ## Show all runs in a browser (PORT=6006)
	@setup/setup.sh tensorboard
	@.deps/tensorboard/bin/tensorboard --logdir $(LOGDIR) --port $(PORT)

.PHONY: test
test: setup setup-photos ## Run every test
	@cargo test --locked
	@$(MAKE) --no-print-directory test-cuda

.PHONY: soak
soak: setup ## Kill runs 200 times (KILLS=) at places that differ each time, resume them, and compare to the last bit
	@GRADWATCH_SOAK=$(or $(KILLS),200) GRADWATCH_SEED=$$(date +%s) cargo test --locked --test crash -- --nocapture

.PHONY: test-peers
test-peers: setup setup-photos ## Run the tests that need PyTorch: it loads our weights and exports, and we those of torchvision and timm
	@setup/setup.sh peers
	@cargo test --locked --lib --test model_golden --test weights --test exports --test photos -- --ignored --nocapture

.PHONY: test-browser
test-browser: setup-libtorch ## Look at a report in Chromium: narrow and wide, light and dark (CHROMIUM=chromium)
	@CHROMIUM=$(or $(CHROMIUM),chromium) cargo test --locked --test report_browser -- --ignored --nocapture

.PHONY: test-cuda
test-cuda: setup ## Run the tests of a GPU on cuda:0, or on a simulated one if no NVIDIA driver answers
	@if nvidia-smi >/dev/null 2>&1; then cargo test --locked --test cuda -- --ignored; \
	else tests/simcuda/test.sh; fi

.PHONY: lint
lint: setup-libtorch ## Check formatting, clippy and rustdoc, with warnings denied
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- --deny warnings
	@RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --document-private-items

.PHONY: bench
bench: setup ## Measure the event writer and reader, the loader, checkpoints, clipping, and what looking at gradients costs a step
	@cargo bench --locked --bench events --bench replay --bench checkpoint --bench loader --bench clipping --bench telemetry

.PHONY: bench-diagnosis
bench-diagnosis: setup-libtorch setup-data ## Score the rules on faulty and healthy runs; those in target/diagnosis-traces are not trained again
	@cargo bench --locked --bench diagnosis

.PHONY: bench-logistic
bench-logistic: setup-libtorch setup-data ## Train nets of 10 and 15 sigmoid layers with five initializations; runs in target/logistic are kept
	@cargo bench --locked --bench logistic

.PHONY: bench-peers
bench-peers: build setup-data ## Time the demo, clipping, and looking at gradients beside PyTorch and timm here (TURNS=5)
	@setup/setup.sh peers
	@TURNS=$(TURNS) STEPS=$(STEPS) .deps/peers/bin/python benches/peers/fashion_mnist.py
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/clipping.py --json target/clipping-peers.jsonl
	@TURNS=$(TURNS) PEERS=$(CURDIR)/target/clipping-peers.jsonl cargo bench --locked --bench clipping
	@rm -f target/checkpoint-peers.jsonl
	@TURNS=$(TURNS) .deps/peers/bin/python benches/peers/checkpoint.py --json target/checkpoint-peers.jsonl
	@TURNS=$(TURNS) PEERS=$(CURDIR)/target/checkpoint-peers.jsonl cargo bench --locked --bench checkpoint
	@STEPS= TURNS=$(TURNS) .deps/peers/bin/python benches/peers/telemetry.py --json target/telemetry-peers.jsonl
	@STEPS= TURNS=$(TURNS) PEERS=target/telemetry-peers.jsonl cargo bench --locked --bench telemetry

.PHONY: clean
clean: ## Remove what was built (what was fetched stays: rm -rf .deps data)
	@cargo clean
