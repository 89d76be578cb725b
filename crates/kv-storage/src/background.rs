//! Threads whose work can wait.

/// Has this thread, and those that it starts, give way to others that want the processor: for work
/// that clients do not wait for. It takes longer where they leave little. Where a system has no priorities of single threads, nothing changes.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};

        let thread = Some(rustix::thread::gettid());
        let given = getpriority_process(thread)
            .and_then(|nice| setpriority_process(thread, nice.max(NICE)));
        if let Err(error) = given {
            tracing::debug!(%error, "a background thread keeps its priority");
        }
    }
}

/// About a quarter of a processor's time, where another thread wants all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_this_thread_alone() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = nice();
        let given = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(given.join().unwrap(), before.max(NICE));
        assert_eq!(nice(), before);
    }
}
