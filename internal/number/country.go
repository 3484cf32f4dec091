package number

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// country is what can be checked of addresses in a country.
type country struct {
	// states are its subdivisions; nil: not known here.
	states map[string]bool
	// zips are the shapes of its postal codes, see [zipShapes].
	zips []string
}

// countries has every country by its code.
var countries = sync.OnceValue(func() map[string]*country {
	all := map[string]*country{}
	for code := range strings.FieldsSeq(countryCodes) {
		all[code] = &country{}
	}
	for line := range strings.Lines(stateCodes) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		c := all[words[0]]
		c.states = map[string]bool{}
		for _, code := range words[1:] {
			c.states[code] = true
		}
	}
	for line := range strings.Lines(zipShapes) {
		code, shapes, found := strings.Cut(strings.TrimSpace(line), " ")
		if found {
			all[code].zips = strings.Split(shapes, ",")
		}
	}
	return all
})

// stateFault says what is wrong with a state of a country, which is nil if it is none.
func (c *country) stateFault(code, state string) string {
	switch {
	case state == "":
		return ""
	case code == "":
		return fmt.Sprintf("%s needs a country, by which it is one", quote(state))
	case c == nil:
		return "" // the country is at fault
	case c.states[state]:
		return ""
	case strings.HasPrefix(state, code+"-") && (c.states == nil || c.states[state[3:]]):
		return fmt.Sprintf("%s has the country in it; write %s", quote(state), state[3:])
	case c.states != nil:
		return fmt.Sprintf("%s is not a state, province or the like of %s; ISO 3166-2 has their codes, without the %[2]s-", quote(state), code)
	case len(state) > 3 || strings.Trim(state, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "":
		return fmt.Sprintf("%s is not a code as ISO 3166-2 has them: one to three letters or digits, without the country", quote(state))
	}
	return ""
}

// zipFault says what is wrong with a postal code of a country, which is nil if it is none or not
// known.
func (c *country) zipFault(code, zip string) string {
	switch {
	case zip == "":
		return ""
	case c == nil || c.zips == nil:
		if len(zip) > maxZIP || !tidy(zip) {
			return fmt.Sprintf("%s is not a postal code: at most %d letters, digits and signs of ASCII", quote(zip), maxZIP)
		}
		return ""
	case slices.ContainsFunc(c.zips, func(shape string) bool { return fits(zip, shape) }):
		return ""
	}
	shown := strings.NewReplacer("#", "9", "@", "A", "*", "X").Replace(strings.Join(c.zips, " or "))
	return fmt.Sprintf("%s is not a postal code of %s, which look like %s", quote(zip), code, shown)
}

// fits reports whether a postal code has a shape.
func fits(zip, shape string) bool {
	for i := range len(shape) {
		if zip == "" {
			return false
		}
		digit, letter := '0' <= zip[0] && zip[0] <= '9', 'A' <= zip[0] && zip[0] <= 'Z'
		switch shape[i] {
		case '#':
			if !digit {
				return false
			}
		case '@':
			if !letter {
				return false
			}
		case '*':
			if !digit && !letter {
				return false
			}
		case ' ':
			if zip[0] != ' ' {
				continue // people leave it out
			}
		default:
			if zip[0] != shape[i] {
				return false
			}
		}
		zip = zip[1:]
	}
	return zip == ""
}

// countryCodes are the codes that ISO 3166-1 alpha-2 assigns. Others have some that it leaves to
// its users, such as XK.
const countryCodes = `
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ
BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ
DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY
HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ
TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ
VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW`

// stateCodes are the codes that ISO 3166-2 has for subdivisions, without the country, for
// countries where they are part of an address. Where a country has changed a code, the old one
// is still good. Of the others, any code of the right shape is: better one that does not exist
// than none for a subdivision that was named last year.
const stateCodes = `
AE AJ AZ DU FU RK SH UQ
AR A B C D E F G H J K L M N P Q R S T U V W X Y Z
AT 1 2 3 4 5 6 7 8 9
AU ACT NSW NT QLD SA TAS VIC WA
BR AC AL AM AP BA CE DF ES FN GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO
CA AB BC MB NB NL NS NT NU ON PE QC SK YT
CH AG AI AR BE BL BS FR GE GL GR JU LU NE NW OW SG SH SO SZ TG TI UR VD VS ZG ZH
CL AI AN AP AR AT BI CO LI LL LR MA ML NB RM TA VS
CN AH BJ CQ FJ GD GS GX GZ HA HB HE HI HK HL HN JL JS JX LN MO NM NX QH SC SD SH SN SX TJ TW XJ XZ YN ZJ
CO AMA ANT ARA ATL BOL BOY CAL CAQ CAS CAU CES CHO COR CUN DC GUA GUV HUI LAG MAG MET NAR NSA PUT QUI RIS SAN SAP SUC TOL VAC VAU VID
DE BB BE BW BY HB HE HH MV NI NW RP SH SL SN ST TH
ES A AB AL AN AR AS AV B BA BI BU C CA CB CC CE CL CM CN CO CR CS CT CU EX GA GC GI GR GU H HU IB J L LE LO LU M MA MC MD ML MU NA NC O OR P PM PO PV RI S SA SE SG SO SS T TE TF TO V VA VC VI Z ZA
IE C CE CN CO CW D DL G KE KK KY L LD LH LK LM LS M MH MN MO OY RN SO TA U WD WH WW WX
IN AN AP AR AS BR CG CH CT DD DH DL DN GA GJ HP HR JH JK KA KL LA LD MH ML MN MP MZ NL OD OR PB PY RJ SK TG TN TR TS UK UP UT WB
IT 21 23 25 32 34 36 42 45 52 55 57 62 65 67 72 75 77 78 82 88 AG AL AN AO AP AQ AR AT AV BA BG BI BL BN BO BR BS BT BZ CA CB CE CH CI CL CN CO CR CS CT CZ EN FC FE FG FI FM FR GE GO GR IM IS KR LC LE LI LO LT LU MB MC ME MI MN MO MS MT NA NO NU OG OR OT PA PC PD PE PG PI PN PO PR PT PU PV PZ RA RC RE RG RI RM RN RO SA SI SO SP SR SS SU SV TA TE TN TO TP TR TS TV UD VA VB VC VE VI VR VS VT VV
JP 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
KR 11 26 27 28 29 30 31 41 42 43 44 45 46 47 48 49 50
MX AGU BCN BCS CAM CHH CHP CMX COA COL DIF DUR GRO GUA HID JAL MEX MIC MOR NAY NLE OAX PUE QUE ROO SIN SLP SON TAB TAM TLA VER YUC ZAC
MY 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16
NG AB AD AK AN BA BE BO BY CR DE EB ED EK EN FC GO IM JI KD KE KN KO KT KW LA NA NI OG ON OS OY PL RI SO TA YO ZA
NZ AUK BOP CAN CIT GIS HKB MBH MWT NSN NTL OTA STL TAS TKI WGN WKO WTC
PE AMA ANC APU ARE AYA CAJ CAL CUS HUC HUV ICA JUN LAL LAM LIM LMA LOR MDD MOQ PAS PIU PUN SAM TAC TUM UCA
US AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC AS GU MP PR UM VI
ZA EC FS GP GT KZN LP MP NC NL NW WC`

// zipShapes are the shapes of postal codes, after the Universal Postal Union's descriptions of
// addressing systems: # is a digit, @ a letter, * either of them, a space one that may be left
// out, and anything else itself. Countries that are not here have none, or none that all of
// them have.
const zipShapes = `
AD AD###
AF ####
AI AI-2640
AL ####
AM ####
AR @####@@@,####
AS #####,#####-####
AT ####
AU ####
AX #####
AZ AZ ####,####
BA #####
BB BB#####
BD ####
BE ####
BG ####
BL #####
BM @@ **
BN @@ ####
BR #####-###,########
BY ######
CA @#@ #@#
CC ####
CH ####
CL #######,###-####
CN ######
CO ######
CR #####
CU #####
CV ####
CX ####
CY ####
CZ ### ##
DE #####
DK ####
DO #####
DZ #####
EC ######
EE #####
EG #####
ES #####
ET ####
FI #####
FK FIQQ 1ZZ
FM #####,#####-####
FO ###
FR #####
GB @# #@@,@## #@@,@@# #@@,@@## #@@,@#@ #@@,@@#@ #@@
GE ####
GF #####
GG GY# #@@,GY## #@@,GY#@ #@@
GI GX11 1AA
GL ####
GN ###
GP #####
GR ### ##
GS SIQQ 1ZZ
GT #####
GU #####,#####-####
GW ####
HN #####
HR #####
HT ####,HT####
HU ####
ID #####
IE @** ****
IL #######,#####
IM IM# #@@,IM## #@@,IM#@ #@@
IN ### ###
IO BBND 1ZZ
IQ #####
IR ##########,#####-#####
IS ###
IT #####
JE JE# #@@,JE## #@@,JE#@ #@@
JO #####
JP ###-####,#######
KE #####
KG ######
KH #####,######
KR #####
KW #####
KY KY#-####
KZ ######,@##@#@#
LA #####
LB ####,#### ####,#####
LI ####
LK #####
LR ####
LS ###
LT #####,LT-#####
LU ####,L-####
LV ####,LV-####
MA #####
MC #####
MD ####,MD-####,MD####
ME #####
MF #####
MG ###
MH #####,#####-####
MK ####
MM #####
MN #####,######
MP #####,#####-####
MQ #####
MT @@@ ####
MU #####
MV #####
MX #####
MY #####
MZ ####
NC #####
NE ####
NF ####
NG ######
NI #####
NL #### @@
NO ####
NP #####
NZ ####
OM ###
PE #####
PF #####
PG ###
PH ####
PK #####
PL ##-###
PM #####
PN PCRN 1ZZ
PR #####,#####-####
PT ####-###,####
PW #####,#####-####
PY ####,######
RE #####
RO ######
RS #####,######
RU ######
SA #####,#####-####
SE ### ##
SG ######
SH @@@@ 1ZZ
SI ####
SJ ####
SK ### ##
SM #####
SN #####
SZ @###
TC TKCA 1ZZ
TH #####
TJ ######
TM ######
TN ####
TR #####
TW ###,#####,######,###-##,###-###
TZ #####
UA #####
US #####,#####-####
UY #####
UZ ######
VA #####
VC VC####
VE ####
VG VG####
VI #####,#####-####
VN #####,######
WF #####
YT #####
ZA ####
ZM #####`
