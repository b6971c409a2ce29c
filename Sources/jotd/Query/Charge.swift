/// Something that counts against a bound for as long as somebody keeps this.
final class Charge: Sendable {
  private let release: @Sendable () -> Void

  /// `release` is called once, when this is let go.
  init(_ release: @escaping @Sendable () -> Void) { self.release = release }

  deinit { release() }
}
