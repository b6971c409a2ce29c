import CLinux
import Dispatch
import Glibc
import Rotation

/// Runs hooks after rotations: once for all that come together, each beside the others, and never
/// the same one twice at a time. Nothing waits for a hook.
@MainActor
final class HookRunner {
  private var hooks: [String: [Hook]] = [:]
  /// The identities for which each hook is to run next.
  private var due: [Hook: Set<String>] = [:]
  private var running: Set<Hook> = []
  private var isGathering = false
  /// What failed last time, by hook.
  private(set) var faults: [Hook: Failure] = [:]
  private let report: @MainActor (Event) -> Void
  private let lanes = (0..<Limits.hookLanes).map { DispatchQueue(label: "jotd.hook.\($0)") }

  /// `report` is told of failures, recoveries and output; `faults` has changed by then.
  init(report: @escaping @MainActor (Event) -> Void) { self.report = report }

  /// The hooks of each identity, by name. Faults of hooks that went are forgotten.
  func configure(_ hooks: [String: [Hook]]) {
    self.hooks = hooks
    let all = Set(hooks.values.joined())
    faults = faults.filter { all.contains($0.key) }
    due = due.filter { all.contains($0.key) }
  }

  /// Notes that `identity` was rotated; its hooks run soon.
  func rotated(_ identity: String) {
    guard let hooks = hooks[identity], !hooks.isEmpty else { return }
    for hook in hooks { due[hook, default: []].insert(identity) }
    guard !isGathering else { return }
    isGathering = true
    let pause = DispatchTimeInterval.microseconds(Int(Limits.hookGathering.microseconds))
    DispatchQueue.main.asyncAfter(deadline: .now() + pause) {
      MainActor.assumeIsolated {
        self.isGathering = false
        self.runDue()
      }
    }
  }

  private func runDue() {
    for (hook, identities) in due where !running.contains(hook) {
      due[hook] = nil
      running.insert(hook)
      let lane = lanes[abs(hook.hashValue % lanes.count)]
      lane.async {
        let outcome = hook.carryOut(for: identities)
        DispatchQueue.main.async { MainActor.assumeIsolated { self.finish(hook, outcome) } }
      }
    }
  }

  private func finish(_ hook: Hook, _ outcome: Hook.Outcome) {
    running.remove(hook)
    let before = faults[hook]
    faults[hook] = outcome.failure
    for line in outcome.output { report(.hookOutput(hook: hook.description, line: line)) }
    if let failure = outcome.failure {
      if failure != before { report(.hookFailed(hook: hook.description, failure)) }
    } else if before != nil {
      report(.hookRecovered(hook: hook.description))
    }
    runDue()
  }
}

extension Hook: CustomStringConvertible {
  var description: String {
    switch self {
    case .reload(let unit): "reload \(unit)"
    case .signal(let file, _, let name): "signal \(name) to the process of \(file)"
    case .run(let words): "run \(String(decoding: words[0], as: UTF8.self))"
    }
  }
}

// MARK: - What a hook does, on a lane

extension Hook {
  struct Outcome: Sendable {
    var failure: Failure?
    var output: [String] = []
  }

  fileprivate func carryOut(for identities: Set<String>) -> Outcome {
    switch self {
    case .reload(let unit):
      // Says nothing when it works, and why when it does not.
      var outcome = run(["/usr/bin/systemctl", "--no-ask-password", "reload", unit], identities)
      if let failure = outcome.failure {
        let words = outcome.output.joined(separator: "; ")
        outcome.failure = Failure("\(failure)\(words.isEmpty ? "" : ": \(words)")")
        outcome.output = []
      }
      return outcome
    case .signal(let file, let number, _):
      do throws(Failure) {
        try signal(file, number)
        return Outcome()
      } catch { return Outcome(failure: error) }
    case .run(let words):
      return run(words.map { String(decoding: $0, as: UTF8.self) }, identities)
    }
  }

  /// Signals the process of a pid file, unless the number has gone to another since: the process
  /// is held by a pidfd first, and then must be older than the file, and of the file's owner.
  private func signal(_ file: Path, _ number: Int32) throws(Failure) {
    do {
      let opened = try Descriptor.open(file.description, [.noFollow, .nonBlocking])
      let status = try opened.status()
      let text = String(decoding: try opened.read(upTo: 64), as: UTF8.self)
      guard status.kind == .file,
        let pid = Int32(text.split(whereSeparator: \.isWhitespace).first ?? ""), pid > 1
      else { throw Failure("\(file) holds no process number") }
      let process = Descriptor(owning: try result { linux_open_process(pid) })
      let owner = try FileSystem.status(of: "/proc/\(pid)").owner
      guard status.owner == 0 || status.owner == owner else {
        throw Failure("\(file) does not belong to root or to the user of process \(pid)")
      }
      guard let began = Hook.startOf(pid), began <= Double(status.modified) / 1e9 + 1 else {
        throw Failure("\(file) is stale: process \(pid) began after it was written")
      }
      try result { linux_signal_process(process.number, number) }
    } catch let failure as Failure {
      throw failure
    } catch let error as SystemError {
      throw Failure("\(file): \(error.reason)", code: error.code)
    } catch {
      throw Failure("\(file): \(error)")
    }
  }

  /// When a process began, in seconds since 1970 (proc(5), starttime).
  private static func startOf(_ pid: Int32) -> Double? {
    guard let fields = FileSystem.status(ofProcess: "\(pid)"), fields.count > 20,
      let ticks = Double(fields[20])
    else { return nil }
    return Instant.systemStart + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  private func run(_ words: [String], _ identities: Set<String>) -> Outcome {
    let environment = [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
      "JOTD_IDENTITIES=\(identities.sorted().joined(separator: " "))",
    ]
    let limit = Int32(Limits.hookTime.microseconds / 1000)
    var output = [CChar](repeating: 0, count: Limits.hookOutputBytes)
    var length: Int32 = 0
    let status = unsafe withStrings(words) { words in
      unsafe withStrings(environment) { environment in
        unsafe linux_run(words, environment, limit, &output, Int32(output.count), &length)
      }
    }
    let code = errno
    let text = String(
      decoding: output.prefix(Int(length)).lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let lines = text.split(whereSeparator: \.isNewline).map { printable(String($0)) }
    switch status {
    case 0: return Outcome(output: lines)
    case -1:
      return Outcome(failure: Failure("\(words[0]): \(SystemError(code: code).reason)", code: code))
    case -2:
      return Outcome(
        failure: Failure("ended after \(Limits.hookTime.timeSpan), which is the most it may take"),
        output: lines)
    default:
      // waitpid(2): the low seven bits are the signal, the next byte is the exit status.
      let end = status & 0x7f == 0 ? "exit status \(status >> 8 & 0xff)" : "signal \(status & 0x7f)"
      return Outcome(failure: Failure(end), output: lines)
    }
  }
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
