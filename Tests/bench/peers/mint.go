// Mints as many tokens as its argument says, by golang-jwt, and prints the seconds that took and
// the last token's length.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt"
)

func main() {
	count := 100000
	if len(os.Args) > 1 {
		count, _ = strconv.Atoi(os.Args[1])
	}
	key := make([]byte, 32)
	rand.Read(key)
	length := 0
	began := time.Now()
	for each := 0; each < count; each++ {
		now := time.Now().Unix()
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"user_id": "user-" + strconv.Itoa(each%1000), "role": "operator",
			"iat": now, "exp": now + 86400})
		signed, err := token.SignedString(key)
		if err != nil {
			panic(err)
		}
		length = len(signed)
	}
	fmt.Println(time.Since(began).Seconds(), length)
}
