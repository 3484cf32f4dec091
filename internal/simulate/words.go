package simulate

import "github.com/switchhook/switchhook/internal/number"

var (
	colours  = []string{"Blue", "Green", "Amber", "Violet", "Silver", "Crimson", "Teal", "Ivory", "Indigo", "Coral"}
	networks = []string{"Carrier", "Telecom", "Networks", "Voice", "Lines"}

	// With one of desks behind it, a word is a caller name: 15 characters at most.
	words = []string{
		"Pinecone", "Teapot", "Lantern", "Otter", "Thimble", "Walnut", "Velvet", "Marble", "Ribbon", "Juniper",
		"Puffin", "Biscuit", "Compass", "Pebble", "Mitten", "Acorn", "Saddle", "Candle", "Feather", "Turnip",
	}
	trades = []string{"Bakery", "Books", "Clinic", "Garage", "Hotel", "Legal", "Logistics", "Market", "Optics", "Pharmacy", "Plumbing", "School", "Studio", "Tailors", "Travel"}
	desks  = []string{"SALES", "HELP", "OFFICE", "SHOP", "NIGHT", "24/7"}

	trunks   = []string{"east-1", "east-2", "west-1", "west-2"}
	infos    = []string{"", "", "Inbound only", "Ported in", "Call center, shared"}
	products = []number.Product{number.Phone, number.Phone, number.Phone, number.ContactCenter, number.Unallocated}
)

// country is how invented addresses look in a country.
type country struct {
	streets []string // with the house number
	floor   string
	cities  []string
	zip     string // 9 is any digit, A any letter
}

var countries = map[string]country{
	"US": {[]string{"%d Teapot Lane", "%d Make Believe Avenue", "%d Yonder Street"}, "Suite %d", []string{"Mockingham", "Sampleton", "Placeholder Falls"}, "99999"},
	"CA": {[]string{"%d Imaginary Road", "%d Once Upon Crescent"}, "Unit %d", []string{"Port Example", "Lac-Fictif"}, "A9A 9A9"},
	"GB": {[]string{"%d Nowhere Lane", "%d Pretend Street"}, "Flat %d", []string{"Fableford", "Much Inventing"}, "AA9 9AA"},
	"AU": {[]string{"%d Daydream Parade", "%d Tall Tale Road"}, "Level %d", []string{"Wallaby Example", "Storyville"}, "9999"},
	"DE": {[]string{"Märchenweg %d", "Beispielstraße %d"}, "%d. Stock", []string{"Musterstadt", "Nirgendwo"}, "99999"},
	"FR": {[]string{"%d rue de la Fable", "%d allée des Chimères"}, "étage %d", []string{"Exempleville", "Saint-Fictif"}, "99999"},
}

// fictional are numbers that those who give out numbers have set aside for films and
// books: ACMA, ARCEP, Ofcom and the Bundesnetzagentur. For each block: country, state, and
// the number, in which x is any digit.
const fictional = `AU NSW +6125550xxxx
AU NSW +6127010xxxx
AU VIC +6135550xxxx
AU VIC +6137010xxxx
AU QLD +6175550xxxx
AU QLD +6177010xxxx
AU WA +6185550xxxx
AU WA +6187010xxxx
FR +3326191xxxx
FR +3335301xxxx
FR +3346571xxxx
FR +3353649xxxx
GB +441134960xxx
GB +441144960xxx
GB +441164960xxx
GB +441174960xxx
GB +441184960xxx
GB +441214960xxx
GB +441314960xxx
GB +441414960xxx
GB +441514960xxx
GB +441614960xxx
GB +441914980xxx
GB +442079460xxx
GB +442896496xxx
GB +442920180xxx
DE +492214710xxx
DE +493023125xxx
DE +494066969xxx
DE +496990009xxx
DE +498999998xxx`

// areas are area codes of North America. In each, 555-0100 to 555-0199 are set aside.
const areas = `US CA 415 510 650 408 213 310 619 916
US NY 212 718 518 716
US TX 214 512 713 210
US WA 206 509 253
US OR 503 541
US IL 312 217
US MA 617 413 508
US FL 305 407 813 904
US GA 404 706
US CO 303 719 970
US AZ 602 520
US NV 702 775
US UT 801 435
US MN 612 218
US WI 414 608 920
US MI 313 616 906
US OH 216 614 513
US PA 215 412 717
US NJ 201 609
US VA 804 703 757
US NC 704 919 828
US SC 803 843
US TN 615 901 865
US KY 502 606
US MO 314 816 417
US LA 504 225 318
US AL 205 334
US MS 601 662
US AR 501 870
US OK 405 918
US KS 316 785 913
US NE 402 308
US IA 515 319 712
US SD 605
US ND 701
US MT 406
US WY 307
US ID 208
US NM 505 575
US HI 808
US AK 907
US ME 207
US NH 603
US VT 802
US RI 401
US CT 203 860
US DE 302
US MD 301 410
US DC 202
US IN 317 219 812
US WV 304
CA ON 416 613 519 905 705 807
CA QC 514 418 819 450
CA BC 604 250
CA AB 403 780
CA MB 204
CA SK 306
CA NS 902
CA NB 506
CA NL 709
CA YT 867`
