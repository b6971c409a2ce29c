import CLinux
import Glibc
import Rotation
import Synchronization

/// Runs programs: those of hooks, and jotd's own helpers. Whatever a program does, a run ends
/// within its time and `Limits.hookKill`, and costs jotd a bounded number of bytes: see
/// `linux_process_watch`.
final class ProcessRunner: Sendable {
  enum End {
    case exit(status: Int32)
    case signal(Int32)
    /// It was killed because its time was over, or because `close` had come before it began.
    case late
    /// Its time was over, and it could not be killed: it hangs in the kernel, or has become another
    /// user's. It is still there.
    case immortal(pid: Int32)
  }

  private struct State {
    var running: Set<Int32> = []
    var immortal: Set<Int32> = []
    var isClosed = false
  }

  private let state = Mutex(State())

  /// Runs the program whose path is the first of `words`, with `words` as its arguments and `input`
  /// to read, and waits for its end, for `limit` at most. Returns that and the first bytes of what
  /// it printed, as many as there is `room` for. Throws when it could not be started.
  func run(
    _ words: [String], environment: [String], input: [UInt8], limit: Duration,
    room: Int = Limits.hookOutputBytes
  ) throws(Failure) -> (end: End, output: [UInt8]) {
    let file: Descriptor
    do throws(Failure) {
      file = Descriptor(
        owning: try result {
          unsafe input.withUnsafeBytes { bytes in
            unsafe linux_memory_file(bytes.baseAddress, Int64(bytes.count))
          }
        })
    } catch { throw error.about("\(words[0])") }
    return try run(words, environment: environment, input: file, limit: limit, room: room)
  }

  /// The same with the descriptor `input` as its standard input; `began` is called once it runs.
  func run(
    _ words: [String], environment: [String], input: consuming Descriptor, limit: Duration,
    room: Int = Limits.hookOutputBytes, began: (_ pid: Int32) -> Void = { _ in }
  ) throws(Failure) -> (end: End, output: [UInt8]) {
    reap()
    var process: linux_process
    do throws(Failure) {
      process = try ProcessRunner.start(words, environment, input.number)
    } catch { throw error.about("\(words[0])") }
    // Only the program has it from now on: its end is seen at the other end.
    Glibc.close(input.release())
    let isClosed = state.withLock { state in
      state.running.insert(process.pid)
      return state.isClosed
    }
    began(process.pid)
    var output = [UInt8](repeating: 0, count: room)
    var length: Int32 = 0
    let room = Int32(output.count)
    let (inTime, hasEnded) = unsafe output.withUnsafeMutableBytes { buffer in
      let bytes = unsafe buffer.assumingMemoryBound(to: CChar.self).baseAddress
      let inTime =
        unsafe !isClosed
        && linux_process_watch(
          &process, limit.milliseconds, Limits.hookPause.milliseconds, bytes, room, &length) == 1
      let hasEnded = unsafe linux_process_end(
        &process, Limits.hookKill.milliseconds, bytes, room, &length)
      return (inTime, hasEnded == 1)
    }
    let status = forget(process.pid, hasEnded)
    if process.error != 0 { throw ProcessRunner.failure(of: process, words[0]) }
    output.removeSubrange(Int(length)...)
    guard let status else { return (.immortal(pid: process.pid), output) }
    guard inTime else { return (.late, output) }
    // waitpid(2): the low seven bits are the signal, the next byte is the exit status.
    let signal = status & 0x7f
    return (signal == 0 ? .exit(status: status >> 8 & 0xff) : .signal(signal), output)
  }

  /// Kills the process of this number, if it is one that runs here.
  func kill(_ pid: Int32) {
    // It is not reaped before it is taken out: the number is its own.
    state.withLock { state in if state.running.contains(pid) { linux_process_kill_group(pid) } }
  }

  /// Whether a program that could not be killed is still there.
  func isImmortal(_ pid: Int32) -> Bool {
    reap()
    return state.withLock { $0.immortal.contains(pid) }
  }

  /// Whether a program is still there, which may be one that could not be killed.
  func isThere(_ pid: Int32) -> Bool {
    isImmortal(pid) || state.withLock { $0.running.contains(pid) }
  }

  /// Kills what runs, and lets nothing begin any more.
  func close() {
    state.withLock { state in
      state.isClosed = true
      // None of them is reaped before it is taken out: the numbers are theirs.
      for pid in state.running { linux_process_kill_group(pid) }
    }
  }

  private static func start(
    _ words: [String], _ environment: [String], _ input: Int32
  ) throws(Failure) -> linux_process {
    var process = linux_process()
    let files = linux_file_limit_at_start()
    try result {
      unsafe withStrings(words) { words in
        unsafe withStrings(environment) { environment in
          unsafe linux_process_start(words, environment, input, files, &process)
        }
      }
    }
    return process
  }

  /// Why a program did not begin.
  private static func failure(of process: linux_process, _ program: String) -> Failure {
    let reason = Failure(errno: process.error).description
    guard process.failed == LINUX_STARTING_RIGHTS else {
      return Failure("\(program): \(reason)", code: process.error)
    }
    return Failure(
      "\(program) is not started, because it would inherit jotd's capabilities: capset: \(reason). "
        + "If the unit has a SystemCallFilter=, it must allow capset", code: process.error)
  }

  /// The status of a process that ended, whose number is free from now on.
  private func forget(_ pid: Int32, _ hasEnded: Bool) -> Int32? {
    state.withLock { state in
      state.running.remove(pid)
      var status: Int32 = 0
      if hasEnded, unsafe linux_process_reap(pid, &status) == 1 { return status }
      state.immortal.insert(pid)
      return nil
    }
  }

  private func reap() {
    state.withLock { state in
      state.immortal = state.immortal.filter { pid in
        var status: Int32 = 0
        return unsafe linux_process_reap(pid, &status) == 0
      }
    }
  }
}

extension Duration {
  /// For poll(2).
  fileprivate var milliseconds: Int32 { Int32(clamping: microseconds / 1000) }
}

/// Lends the strings as a C array that ends with a null pointer.
private func withStrings<Value>(
  _ strings: [String], _ use: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Value
) -> Value {
  var pointers = unsafe strings.map { unsafe strdup($0) }
  unsafe pointers.append(nil)
  defer { for index in strings.indices { unsafe free(pointers[index]) } }
  return unsafe pointers.withUnsafeBufferPointer { unsafe use($0.baseAddress!) }
}
