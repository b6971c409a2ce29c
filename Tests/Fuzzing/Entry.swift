import Glibc

/// What libFuzzer calls with each input. JOTD_FUZZ names the reader that gets it: each is given
/// what others wrote, and besides not crashing, what it makes of it must hold.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  reader(unsafe Array(UnsafeBufferPointer(start: data, count: count)))
  return 0
}

private let reader: @Sendable ([UInt8]) -> Void = {
  let readers: [String: @Sendable ([UInt8]) -> Void] = [
    "yaml": readConfiguration, "token": readToken, "http": readRequests,
    "address": readCredentialAddress, "cgroup": readControlGroups, "found": readDeliveredFile,
    "span": readSpan, "date": readDate, "json": readJSON, "answer": readAnswer, "text": showText,
    "key": readPrivateKey, "jwks": readPublicKeys, "ring": readRing,
  ]
  let name = unsafe getenv("JOTD_FUZZ").map { unsafe String(cString: $0) }
  guard let reader = readers[name ?? ""] else {
    fatalError("JOTD_FUZZ must be one of \(readers.keys.sorted())")
  }
  return reader
}()
