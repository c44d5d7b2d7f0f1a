from tests.helpers.saved_model import model_dir as model_dir
from tests.helpers.saved_model import saved as saved
