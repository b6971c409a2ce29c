import Dispatch
import Glibc
import Rotation
import Synchronization

/// A helper that has opened a key, and signs with it.
final class DeviceProcess: Sendable {
  /// Why it did not do what it was asked.
  enum Fault: Error {
    /// The device refuses the passphrase.
    case passphrase(Failure)
    /// The device took too long, and the helper with it, which is ended; its pid, where it could
    /// not be.
    case unanswered(Failure, immortal: Int32?)
    /// It is gone, or of no more use: another may do it.
    case gone(Failure)
  }

  /// As `DeviceMessage.Answer.publicKey` has it.
  let publicKey: [UInt8]
  private let socket: Descriptor
  private let end: End

  /// How the process ended, once it has.
  private final class End: Sendable {
    let fault = Mutex<Fault?>(nil)
    /// While it runs.
    let pid = Mutex<Int32?>(nil)
    let group = DispatchGroup()

    /// Ends the process, if it is still there; gives its pid when it cannot be ended.
    func force() -> Int32? {
      guard let pid = pid.withLock(\.self) else { return nil }
      processes.kill(pid)
      return group.wait(timeout: .now() + Limits.hookKill.interval) == .timedOut ? pid : nil
    }
  }

  private static let processes = ProcessRunner()
  /// For what is done a moment later, and waits for nobody.
  static let queue = DispatchQueue(label: "jotd.devices")

  /// Starts one for the key of `opening`, which is opened with `passphrase`.
  init(_ opening: DeviceMessage.Opening, _ passphrase: Secret?) throws(Fault) {
    let end = End()
    self.end = end
    socket = try DeviceProcess.start(opening, passphrase, end)
    let answer = try DeviceProcess.answer(socket, end)
    guard case .publicKey(let key) = answer else { throw DeviceProcess.fault(answer) }
    publicKey = key
  }

  deinit {
    // It hears that, and ends; unless its driver has other plans.
    DeviceProcess.queue.asyncAfter(deadline: .now() + Limits.hookKill.interval) { [end] in
      if let pid = end.pid.withLock(\.self) { DeviceProcess.processes.kill(pid) }
    }
  }

  /// Whether a helper that could not be ended is still there.
  static func isThere(_ pid: Int32) -> Bool { processes.isThere(pid) }

  /// Ends all helpers, at the end of jotd.
  static func endAll() { processes.close() }

  /// The signature of `message`.
  func sign(_ message: [UInt8]) throws(Fault) -> [UInt8] {
    do throws(Failure) { try socket.send(packet: message) } catch { throw .gone(error) }
    let answer = try DeviceProcess.answer(socket, end)
    guard case .signature(let signature) = answer else { throw DeviceProcess.fault(answer) }
    return signature
  }

  private static func start(
    _ opening: DeviceMessage.Opening, _ passphrase: Secret?, _ end: End
  ) throws(Fault) -> Descriptor {
    do throws(Failure) {
      let ends = try Descriptor.packets()
      let input = ends.theirs.release()
      Threads.run(in: end.group) { run(input, end) }
      try ends.ours.send(packet: opening.bytes)
      if let passphrase { try passphrase.write(to: ends.ours) }
      return ends.ours
    } catch { throw .gone(error) }
  }

  /// Runs a helper until its end, with `input` as its standard input.
  private static func run(_ input: Int32, _ end: End) {
    let fault: Fault?
    do throws(Failure) {
      let (how, _) = try processes.run(
        ["/proc/self/exe", DeviceMessage.helper], environment: Environment.forHelpers,
        input: Descriptor(owning: input), limit: Limits.deviceSession,
        began: { pid in end.pid.withLock { $0 = pid } })
      fault = self.fault(how)
    } catch { fault = .gone(error) }
    end.pid.withLock { $0 = nil }
    end.fault.withLock { $0 = fault }
  }

  /// Nil for an end without a fault.
  private static func fault(_ end: ProcessRunner.End) -> Fault? {
    switch end {
    case .exit(0): nil
    case .exit(let status): .gone(Failure("its helper ended with the exit status \(status)"))
    case .signal(SIGALRM): .unanswered(unanswered, immortal: nil)
    case .immortal(let pid): .unanswered(unanswered, immortal: pid)
    case .signal(let number): .gone(Failure("its driver crashed (signal \(number))"))
    case .late: .gone(Failure("its helper was ended, because it was old"))
    }
  }

  private static var unanswered: Failure {
    Failure(
      "it does not answer within \(Limits.deviceTime.timeSpan): the device hangs, or is busy with "
        + "another program")
  }

  private static func answer(
    _ socket: borrowing Descriptor, _ end: End
  ) throws(Fault) -> DeviceMessage.Answer {
    let packet: [UInt8]?
    do throws(Failure) {
      packet = try socket.packet(upTo: Limits.privateKeyBytes, within: Limits.devicePatience)
    } catch {
      throw error.code == EAGAIN ? .unanswered(unanswered, immortal: end.force()) : .gone(error)
    }
    if let packet, let answer = DeviceMessage.Answer(packet) { return answer }
    // Why it is gone is known a moment later.
    _ = end.group.wait(timeout: .now() + Limits.hookKill.interval)
    throw end.fault.withLock(\.self) ?? .gone(Failure("its helper has ended"))
  }

  /// The words are the driver's: whatever it says, logs and health repeat.
  private static func fault(_ answer: DeviceMessage.Answer) -> Fault {
    switch answer {
    case .passphraseRefused(let words): .passphrase(Failure(redacted(words)))
    case .failed(let words): .gone(Failure(redacted(words)))
    case .publicKey, .signature: .gone(Failure("its helper speaks out of turn"))
    }
  }
}
