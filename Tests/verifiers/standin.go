// Does with a login what MediaMTX does (with authMethod: jwt, in 2026), and is what a client of
// it needs to see: an RTSP server whose every path has a stream, and the endpoint of its API by
// which it is told to fetch the keys again. Its binary cannot be had everywhere.
//
//	standin JWKS_URL PERIOD
//
// PERIOD is how old what was fetched may be, in Go's notation: an hour in MediaMTX. The first line
// on standard output has the addresses of both servers; each one after that is a login.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt"
)

const mostKeyBytes = 128 * 1024

// What a claim says that its bearer may do; another member makes the whole claim wrong.
type permission struct {
	Action string `json:"action"`
	Path   string `json:"path"`
}

type claims struct {
	jwt.RegisteredClaims
	permissions []permission
}

func strictly(text []byte, value any) error {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	return decoder.Decode(value)
}

func (each *claims) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &each.RegisteredClaims); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	raw, found := members["mediamtx_permissions"]
	if !found {
		return errors.New("there is no claim mediamtx_permissions")
	}
	if strictly(raw, &each.permissions) == nil {
		return nil
	}
	// The same as a string.
	var inner string
	if err := json.Unmarshal(raw, &inner); err != nil {
		return err
	}
	return strictly([]byte(inner), &each.permissions)
}

func (each *claims) allow(action string, path string) bool {
	for _, one := range each.permissions {
		if one.Action != action {
			continue
		}
		if action != "read" && action != "publish" && action != "playback" {
			return true
		}
		if one.Path == "" || one.Path == path {
			return true
		}
		if strings.HasPrefix(one.Path, "~") {
			if pattern, err := regexp.Compile(one.Path[1:]); err == nil && pattern.MatchString(path) {
				return true
			}
		}
	}
	return false
}

// A member of a JWK Set.
type jwk struct {
	Kty, Kid, Alg, Crv, X, Y, N, E string
}

func number(text string) *big.Int {
	bytes, _ := base64.RawURLEncoding.DecodeString(text)
	return new(big.Int).SetBytes(bytes)
}

func (key jwk) public() (any, error) {
	switch {
	case key.Kty == "EC" && key.Crv == "P-256":
		return &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(key.X), Y: number(key.Y)}, nil
	case key.Kty == "EC" && key.Crv == "P-384":
		return &ecdsa.PublicKey{Curve: elliptic.P384(), X: number(key.X), Y: number(key.Y)}, nil
	case key.Kty == "RSA":
		return &rsa.PublicKey{N: number(key.N), E: int(number(key.E).Int64())}, nil
	case key.Kty == "OKP" && key.Crv == "Ed25519":
		bytes, err := base64.RawURLEncoding.DecodeString(key.X)
		return ed25519.PublicKey(bytes), err
	}
	return nil, errors.New("a key of an unknown kind")
}

// What was fetched, and when.
type keys struct {
	url    string
	period time.Duration
	mutex  sync.Mutex
	known  []jwk
	last   time.Time
}

// Fetches, before anything is known of the token, and under the lock: whoever comes meanwhile
// waits, and a server that is down refuses all of them.
func (each *keys) pull() ([]jwk, error) {
	each.mutex.Lock()
	defer each.mutex.Unlock()
	if time.Since(each.last) < each.period {
		return each.known, nil
	}
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(each.url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostKeyBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > mostKeyBytes {
		return nil, errors.New("the set of keys is too long")
	}
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	for _, key := range set.Keys {
		if _, err := key.public(); err != nil {
			return nil, err
		}
	}
	each.known, each.last = set.Keys, time.Now()
	return each.known, nil
}

func (each *keys) refresh() {
	each.mutex.Lock()
	defer each.mutex.Unlock()
	each.last = time.Time{}
}

// Who it is, if they may do that.
func (each *keys) authenticate(action string, path string, text string) (string, error) {
	known, err := each.pull()
	if err != nil {
		return "", err
	}
	if text == "" {
		return "", errors.New("there is no token")
	}
	said := claims{}
	_, err = jwt.ParseWithClaims(text, &said, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		for _, key := range known {
			if kid != "" && key.Kid == kid {
				if key.Alg != "" && key.Alg != token.Method.Alg() {
					return nil, errors.New("the key is for another algorithm")
				}
				return key.public()
			}
		}
		return nil, errors.New("no key has the kid " + kid)
	})
	if err != nil {
		return "", err
	}
	if !said.allow(action, path) {
		return "", errors.New("is not permitted")
	}
	return said.Subject, nil
}

var output sync.Mutex

func report(line map[string]any) {
	output.Lock()
	defer output.Unlock()
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func (each *keys) login(action string, path string, text string) error {
	user, err := each.authenticate(action, path, text)
	line := map[string]any{"action": action, "path": path, "user": user}
	if err != nil {
		line["error"] = err.Error()
	}
	report(line)
	return err
}

// MARK: Its API

func (each *keys) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	switch {
	case each.login("api", "", token) != nil:
		answer.WriteHeader(http.StatusUnauthorized)
	case request.Method == "POST" && request.URL.Path == "/v3/auth/jwks/refresh":
		each.refresh()
		report(map[string]any{"refreshed": true})
	default:
		answer.WriteHeader(http.StatusNotFound)
	}
}

// MARK: RTSP (RFC 2326), over TCP, with silence to be heard on every path

const description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=silence\r\nc=IN IP4 0.0.0.0\r\n" +
	"t=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:trackID=0\r\n"

func (each *keys) serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		request, err := http.ReadRequest(bufio.NewReader(&rtsp{reader: reader}))
		if err != nil {
			return
		}
		status, more := "200 OK", ""
		switch request.Method {
		case "OPTIONS":
			more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
		case "DESCRIBE":
			query, _ := url.ParseQuery(request.URL.RawQuery)
			if each.login("read", strings.Trim(request.URL.Path, "/"), query.Get("jwt")) != nil {
				status = "401 Unauthorized"
				break
			}
			more = fmt.Sprintf(
				"Content-Type: application/sdp\r\nContent-Length: %d\r\n", len(description))
		case "SETUP":
			more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
		case "PLAY":
			more = "Session: 1\r\n"
		case "TEARDOWN":
			return
		}
		text := "RTSP/1.0 " + status + "\r\nCSeq: " + request.Header.Get("CSeq") + "\r\n" + more +
			"\r\n"
		if request.Method == "DESCRIBE" && status == "200 OK" {
			text += description
		}
		if _, err := io.WriteString(connection, text); err != nil {
			return
		}
		if request.Method == "PLAY" {
			go play(connection)
		}
	}
}

// One request at a time, as HTTP/1.0 for Go's reader; what the client sends of RTCP is passed over.
type rtsp struct {
	reader *bufio.Reader
	text   *strings.Reader
}

func (each *rtsp) Read(bytes []byte) (int, error) {
	if each.text == nil {
		var text strings.Builder
		for {
			if first, err := each.reader.Peek(1); err == nil && first[0] == '$' {
				head, err := each.reader.Peek(4)
				if err != nil {
					return 0, err
				}
				if _, err := each.reader.Discard(4 + int(head[2])<<8 + int(head[3])); err != nil {
					return 0, err
				}
				continue
			}
			line, err := each.reader.ReadString('\n')
			if err != nil {
				return 0, err
			}
			text.WriteString(strings.Replace(line, " RTSP/1.0", " HTTP/1.0", 1))
			if line == "\r\n" {
				break
			}
		}
		each.text = strings.NewReader(text.String())
	}
	return each.text.Read(bytes)
}

// A packet of RTP (RFC 3550) with 160 samples of PCMU each 20 ms.
func play(connection net.Conn) {
	for count := 0; ; count++ {
		stamp := count * 160
		packet := []byte{'$', 0, 0, 172, 0x80, 0, byte(count >> 8), byte(count),
			byte(stamp >> 24), byte(stamp >> 16), byte(stamp >> 8), byte(stamp), 0, 0, 0, 1}
		for len(packet) < 176 {
			packet = append(packet, 0xff)
		}
		if _, err := connection.Write(packet); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func main() {
	period, err := time.ParseDuration(os.Args[2])
	if err != nil {
		panic(err)
	}
	each := &keys{url: os.Args[1], period: period}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	report(map[string]any{"api": api.Addr().String(), "rtsp": streams.Addr().String()})
	go http.Serve(api, each)
	for {
		connection, err := streams.Accept()
		if err != nil {
			panic(err)
		}
		go each.serve(connection)
	}
}
