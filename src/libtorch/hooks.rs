//! Gradient hooks on parameters and activations. Dropping the handle removes the hook.

use tch::Tensor;

use super::{LibtorchError, ffi};

/// A hook on one tensor. Dropping it removes the hook, even while a panic unwinds.
///
/// On CUDA the callback runs on autograd's own thread. It must not read tensor values, because that waits for the
/// device. A hook may be dropped at any time, even by its own callback. Do not register one while another thread runs
/// backward over the same tensor. A callback that panics ends the backward pass with an error that contains the panic
/// message.
#[must_use = "a hook is removed when its handle drops"]
pub struct Hook {
    _guard: ffi::HookGuard,
}

impl Hook {
    /// Runs `callback` on the gradient of `tensor` (same shape and dtype) before autograd accumulates it into `.grad`,
    /// once per backward pass. A returned `Some` replaces the gradient. Works on activations too.
    ///
    /// # Errors
    /// If `tensor` does not require a gradient.
    pub fn before_accumulation(
        tensor: &Tensor,
        callback: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static,
    ) -> Result<Self, LibtorchError> {
        require_grad("register_hook", tensor)?;
        Ok(Self { _guard: ffi::register_hook(tensor, true, Box::new(callback))? })
    }

    /// Runs `callback` on the parameter `tensor` after autograd wrote its `.grad`, once per backward pass. A tensor
    /// takes any number of these hooks.
    ///
    /// # Errors
    /// If `tensor` is not a leaf that requires a gradient, or another library already registered such a hook on it.
    pub fn after_accumulation(
        tensor: &Tensor,
        callback: impl Fn(&Tensor) + Send + Sync + 'static,
    ) -> Result<Self, LibtorchError> {
        const OPERATION: &str = "register_post_accumulate_grad_hook";
        require_grad(OPERATION, tensor)?;
        if !tensor.is_leaf() {
            let got = format!("an activation of shape {:?}", tensor.size());
            return Err(LibtorchError::Argument { operation: OPERATION, got, want: "a leaf (a parameter)" });
        }
        let callback = move |tensor: &Tensor| {
            callback(tensor);
            None
        };
        Ok(Self { _guard: ffi::register_hook(tensor, false, Box::new(callback))? })
    }
}

fn require_grad(operation: &'static str, tensor: &Tensor) -> Result<(), LibtorchError> {
    if tensor.defined() && tensor.requires_grad() {
        return Ok(());
    }
    let got = if tensor.defined() {
        format!("a tensor of shape {:?} without requires_grad", tensor.size())
    } else {
        "an undefined tensor".into()
    };
    Err(LibtorchError::Argument { operation, got, want: "a tensor that requires a gradient" })
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tch::{Device, Kind};

    use super::*;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn a_hook_before_accumulation_sees_this_backwards_gradient_and_one_after_sees_the_sum() {
        let weight = leaf(&[1.0, 2.0]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (before, after) = (Arc::clone(&seen), Arc::clone(&seen));
        let _before = Hook::before_accumulation(&weight, move |grad| {
            before.lock().unwrap().push(("before", values(grad)));
            None
        })
        .unwrap();
        let _after = Hook::after_accumulation(&weight, move |param| {
            after.lock().unwrap().push(("after", values(&param.grad())));
        })
        .unwrap();
        for _ in 0..2 {
            (&weight * 3.0).sum(Kind::Float).backward();
        }
        let want: Vec<(&str, Vec<f32>)> = vec![
            ("before", vec![3.0, 3.0]),
            ("after", vec![3.0, 3.0]),
            ("before", vec![3.0, 3.0]),
            ("after", vec![6.0, 6.0]),
        ];
        assert_eq!(*seen.lock().unwrap(), want);
    }

    #[test]
    fn a_hook_on_an_activation_can_replace_its_gradient() {
        let weight = leaf(&[1.0, 2.0]);
        let hidden = &weight * 2.0;
        let _hook = Hook::before_accumulation(&hidden, |grad| Some(grad * 10.0)).unwrap();
        hidden.sum(Kind::Float).backward();
        assert_eq!(values(&weight.grad()), [20.0, 20.0]);
    }

    #[test]
    fn a_dropped_hook_fires_no_more_and_releases_what_it_owns() {
        let weight = leaf(&[1.0]);
        let owned = Arc::new(());
        for before in [true, false] {
            let (fired, keep) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&owned));
            let count = Arc::clone(&fired);
            let tick = move || {
                let _ = &keep;
                count.fetch_add(1, Ordering::Relaxed);
            };
            let hook = if before {
                Hook::before_accumulation(&weight, move |_| {
                    tick();
                    None
                })
            } else {
                Hook::after_accumulation(&weight, move |_| tick())
            }
            .unwrap();
            weight.sum(Kind::Float).backward();
            assert_eq!(Arc::strong_count(&owned), 2);
            drop(hook);
            weight.sum(Kind::Float).backward();
            assert_eq!(fired.load(Ordering::Relaxed), 1);
            assert_eq!(Arc::strong_count(&owned), 1);
        }
    }

    #[test]
    fn a_hook_is_removed_while_a_panic_unwinds() {
        let weight = leaf(&[1.0]);
        let fired = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fired);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _hook = Hook::after_accumulation(&weight, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            panic!("the user's loop fails");
        }));
        assert!(outcome.is_err());
        weight.sum(Kind::Float).backward();
        assert_eq!(fired.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_hook_may_drop_itself_while_it_runs() {
        for before in [true, false] {
            let weight = leaf(&[1.0]);
            let (own, fired) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
            let (handle, count) = (Arc::clone(&own), Arc::clone(&fired));
            let drop_own = move || {
                count.fetch_add(1, Ordering::Relaxed);
                drop(handle.lock().unwrap().take());
            };
            let hook = if before {
                Hook::before_accumulation(&weight, move |_| {
                    drop_own();
                    None
                })
            } else {
                Hook::after_accumulation(&weight, move |_| drop_own())
            };
            *own.lock().unwrap() = Some(hook.unwrap());
            weight.sum(Kind::Float).backward();
            weight.sum(Kind::Float).backward();
            assert_eq!(fired.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_panic_in_a_callback_ends_backward_with_an_error_that_carries_its_message() {
        let weight = leaf(&[1.0]);
        let _hook = Hook::after_accumulation(&weight, |_| panic!("collector of conv1 is gone")).unwrap();
        let error = weight.sum(Kind::Float).f_backward().unwrap_err().to_string();
        assert!(error.contains("a gradient hook panicked: collector of conv1 is gone"), "{error}");
    }

    #[test]
    fn a_tensor_takes_several_hooks_and_they_fire_in_order_of_registration() {
        let weight = leaf(&[1.0]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hooks: Vec<Hook> = (0..3)
            .map(|number| {
                let seen = Arc::clone(&seen);
                Hook::after_accumulation(&weight, move |_| seen.lock().unwrap().push(number)).unwrap()
            })
            .collect();
        weight.sum(Kind::Float).backward();
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2]);
        drop(hooks);
    }

    #[test]
    fn tensors_that_cannot_take_a_hook_are_refused_before_libtorch_is_asked() {
        let constant = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let activation = &leaf(&[1.0]) * 2.0;
        assert!(matches!(Hook::after_accumulation(&constant, |_| {}), Err(LibtorchError::Argument { .. })));
        assert!(matches!(Hook::before_accumulation(&Tensor::new(), |_| None), Err(LibtorchError::Argument { .. })));
        assert!(matches!(Hook::after_accumulation(&activation, |_| {}), Err(LibtorchError::Argument { .. })));
    }
}
