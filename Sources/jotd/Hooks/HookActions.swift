import CLinux
import Glibc
import Rotation

extension Hook: CustomStringConvertible {
  var description: String {
    switch self {
    case .reload(let unit): "reload \(unit)"
    case .restart(let unit): "restart \(unit)"
    case .signal(let file, _, let name): "signal \(name) to the process of \(file)"
    case .run(let words): "run \(String(decoding: words[0], as: UTF8.self))"
    }
  }
}

/// What a hook does. It may take as long as a disk or a program takes: never on the main queue.
extension Hook {
  struct Outcome: Sendable {
    var failure: Failure?
    /// Lines for the journal.
    var output: [String] = []
    /// It had to be ended.
    var isLate = false
    /// The process that could not be ended.
    var immortal: Int32?
  }

  /// Does it for the subjects of these names. A unit that began to start at `time` or later, in
  /// seconds since 1970, is not restarted.
  func carryOut(
    for subjects: Set<Subject.Name>, unlessStartedSince time: Int64?, with processes: ProcessRunner
  ) -> Outcome {
    switch self {
    case .reload: return manage(subjects, processes)
    case .restart(let unit):
      if let time, let start = start(of: unit, processes), start >= time { return Outcome() }
      return manage(subjects, processes)
    case .signal(let file, let number, _):
      do throws(Failure) {
        try signal(file, number)
        return Outcome()
      } catch { return Outcome(failure: error) }
    case .run(let words):
      return run(words.map { String(decoding: $0, as: UTF8.self) }, subjects, processes)
    }
  }

  // MARK: A unit

  /// When a unit began to start last, in seconds since 1970; nil when it never did, or when that is
  /// not told (before systemd 251).
  private func start(of unit: String, _ processes: ProcessRunner) -> Int64? {
    let words = ["show", "-P", "InactiveExitTimestamp", "--timestamp=unix", "--", unit]
    let told = run(["/usr/bin/systemctl"] + words, [], processes)
    guard told.failure == nil, let line = told.output.first, line.hasPrefix("@") else { return nil }
    return Int64(line.dropFirst())
  }

  /// systemctl says nothing when it works, and why when it does not.
  private func manage(_ subjects: Set<Subject.Name>, _ processes: ProcessRunner) -> Outcome {
    guard let order else { return Outcome() }
    var outcome = run(
      ["/usr/bin/systemctl", "--no-ask-password", order.verb, "--", order.unit], subjects,
      processes)
    guard let failure = outcome.failure else { return outcome }
    let words = redacted(outcome.output.joined(separator: "\n"))
    let advice = Hook.isRefusal(words) ? ". \(PolkitRule.advice)" : ""
    outcome.failure = Failure(
      "\(failure)\(words.isEmpty ? "" : ": \(words)")\(advice)", code: failure.code)
    outcome.output = []
    return outcome
  }

  /// Whether systemctl was not permitted to do it: with polkit's words, or without polkit.
  private static func isRefusal(_ words: String) -> Bool {
    ["nteractive authentication required", "ccess denied"].contains { words.contains($0) }
  }

  // MARK: A program

  private func run(
    _ words: [String], _ subjects: Set<Subject.Name>, _ processes: ProcessRunner
  ) -> Outcome {
    let names = subjects.compactMap(\.identity).sorted()
    let keys = subjects.compactMap(\.key).sorted()
    var environment = [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
      "JOTD_IDENTITIES_COUNT=\(names.count)",
    ]
    if !keys.isEmpty { environment.append("JOTD_KEYS=\(keys.joined(separator: " "))") }
    let joined = names.joined(separator: " ")
    if joined.utf8.count <= Limits.hookVariableBytes {
      environment.append("JOTD_IDENTITIES=\(joined)")
    }
    do throws(Failure) {
      let (end, output) = try processes.run(
        words, environment: environment, input: names.flatMap { Array("\($0)\n".utf8) },
        limit: Limits.hookTime)
      return Outcome(end, lines(output))
    } catch { return Outcome(failure: error) }
  }

  private func lines(_ output: [UInt8]) -> [String] {
    // As a whole: a token may have been broken into lines.
    let all = redacted(String(decoding: output, as: UTF8.self), keepingLines: true)
      .split(separator: "\n")
    let lines = all.prefix(Limits.hookOutputLines).map(String.init)
    let left = all.count - lines.count
    return left > 0 ? lines + ["and \(counted(left, "further line"))"] : lines
  }

  // MARK: A signal

  /// Signals the process of a pid file, unless the number has gone to another since: the process
  /// is held by a pidfd first. It must have begun before the file was last written, give or take a
  /// second, and belong to the file's owner unless that is root.
  private func signal(_ file: Path, _ number: Int32) throws(Failure) {
    do throws(Failure) {
      let (pid, status) = try Hook.processNumber(in: file)
      let process = Descriptor(owning: try result { linux_open_process(pid) })
      let owner = try FileSystem.status(of: "/proc/\(pid)").owner
      guard status.owner == 0 || status.owner == owner else {
        throw Failure("\(file) does not belong to root or to the user of process \(pid)")
      }
      guard let began = Hook.startOf(pid), began <= Double(status.modified) / 1e9 + 1 else {
        throw Failure("\(file) is stale: process \(pid) began after it was written")
      }
      try result { linux_signal_process(process.number, number) }
    } catch {
      // What is wrong with the file names it already.
      throw error.code == 0 ? error : error.about("\(file)")
    }
  }

  /// The number in a pid file, and what is known of the file.
  private static func processNumber(in file: Path) throws(Failure) -> (pid: Int32, FileStatus) {
    // Looked at before it is opened, because opening a device may do something.
    let found = try Descriptor.open(file.description, [.noFollow, .pathOnly]).status()
    guard found.kind == .file else {
      throw Failure("\(file) is not a regular file, as a pid file must be")
    }
    let opened = try Descriptor.open(file.description, [.noFollow, .nonBlocking])
    let status = try opened.status()
    guard status.kind == .file, status.mode & 0o002 == 0 else {
      throw Failure(
        "\(file) may be written by everybody (mode \(String(status.mode, radix: 8))): "
          + "whoever wrote it would choose the process. Set its mode to 644")
    }
    // A file of root's may name any process, so nobody but root may choose what it names.
    guard status.owner != 0 || status.group == 0 || status.mode & 0o020 == 0 else {
      throw Failure(
        "\(file) belongs to root and may be written by a group (mode "
          + "\(String(status.mode, radix: 8))), which would choose the process. "
          + "Set its mode to 644")
    }
    let words = String(decoding: try opened.read(upTo: Limits.pidFileBytes), as: UTF8.self)
      .split(whereSeparator: \.isWhitespace)
    guard let word = words.first, word.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let pid = Int32(word), pid > 1
    else { throw Failure("\(file) holds no process number") }
    guard pid != getpid() else { throw Failure("\(file) holds the number of jotd itself") }
    return (pid, status)
  }

  /// When a process began, in seconds since 1970 (proc(5), starttime).
  private static func startOf(_ pid: Int32) -> Double? {
    guard let fields = FileSystem.status(ofProcess: "\(pid)"), fields.count > 20,
      let ticks = Double(fields[20])
    else { return nil }
    return Instant.systemStart + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }
}

extension Hook.Outcome {
  init(_ end: ProcessRunner.End, _ output: [String]) {
    self.output = output
    let time = Limits.hookTime.timeSpan
    switch end {
    case .exit(0): break
    case .exit(let status): failure = Failure("exit status \(status)")
    case .signal(let signal): failure = Failure("signal \(signal)")
    case .late:
      failure = Failure("ended after \(time), which is the most it may take")
      isLate = true
    case .immortal(let pid):
      failure = Failure(
        "process \(pid) took longer than \(time), which is the most it may take, and cannot be "
          + "killed: it hangs in the kernel, or runs as another user")
      isLate = true
      immortal = pid
    }
  }
}
